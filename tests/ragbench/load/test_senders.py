import asyncio

import pytest

from ragbench.load.sender import Job, job_line, read_job, read_row, row_line
from ragbench.load.senders import fire_from
from ragbench.load.target import Target
from ragbench.processes.family import descendants
from ragbench.results.records import Row
from ragbench.study.arrivals import Span
from ragbench.study.questions import Question
from ragbench.study.schedule import Request, Turns, make_schedule, shares

QUESTIONS = tuple(Question(f"q{i}", f"Say w{i}?", (f"w{i}",)) for i in range(40))


def schedule(rate=100.0, **span):
    return make_schedule("ideal", rate, span=Span(**span), seed=1, questions=QUESTIONS)


async def send(url, parts, **others):
    async with asyncio.timeout(60):
        return await fire_from(parts, Target(url, 5.0), **others)


def senders():
    """The sender processes of this test that run now."""
    return [child for child in descendants() if "ragbench.load.sender" in child.cmdline()]


async def one_sender(rows):
    """A sender, once the first row has come."""
    while not rows:
        await asyncio.sleep(0.01)
    return senders()[0]


def test_a_row_survives_the_way():
    row = Row(3, "q\udc80", 0.1 + 0.2, 1 / 3, None, status="reset", error='a "line"\nand more', exact_match=1.0)
    assert read_row(row_line(row)) == row
    assert row_line(row).count(b"\n") == 1


@pytest.mark.parametrize("text", ["\ud800", "\0", "\r\n", "\u2028"])
def test_a_job_survives_the_way(text):
    question = Question(f"q{text}", f"Say {text}?", (text,))
    share = (Request(0, 0.1 + 0.2, question), Request(1, 1.0, question, 8))
    for each in (share, Turns(3, Span(duration_s=2.5), seed=2**70, questions=(question,))):
        job = Job(Target("http://x", 1.0, max_new_tokens=8, deadline_s=0.5), each)
        assert job_line(job).count(b"\n") == 1
        assert read_job(job_line(job)) == job


async def test_two_processes_send_one_schedule(elsewhere):
    seen = []
    wanted = schedule(requests=60)
    rows = await send(elsewhere, shares(wanted, of=2), on_row=seen.append)
    assert [(row.request, row.due_s, row.question) for row in rows] == [
        (r.number, r.due_s, r.question.id) for r in wanted
    ]
    assert {row.status for row in rows} == {"ok"}
    assert sorted(row.request for row in seen) == list(range(60))
    assert all(row.sent_s >= row.due_s for row in rows)  # one clock, and none of them early
    assert all(row.exact_match == 1.0 for row in rows)
    assert senders() == []


async def test_two_processes_share_the_users(elsewhere):
    rows = await send(elsewhere, Turns(3, Span(requests=20), 1, QUESTIONS).shares(2))
    assert [row.request for row in rows] == list(range(20))
    assert {row.status for row in rows} == {"ok"}


@pytest.mark.slow
async def test_what_a_dead_sender_did_not_tell_of_is_unsent_and_says_why(elsewhere):
    seen = []

    async def murder():
        victim = await one_sender(seen)
        victim.kill()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(murder())
        sending = tasks.create_task(send(elsewhere, shares(schedule(requests=150), of=2), on_row=seen.append))
    rows = sending.result()
    assert [row.request for row in rows] == list(range(150))
    lost = [row for row in rows if row.status == "unsent"]
    assert {row.status for row in rows} == {"ok", "unsent"}
    assert len({row.request % 2 for row in lost}) == 1
    assert {row.error for row in lost} <= {f"sender {i} of 2 was killed by SIGKILL" for i in (1, 2)}
    told = {row.request for row in seen}
    assert {row.request for row in lost} == set(range(150)) - told


async def test_a_sender_that_cannot_start_says_what_it_printed(elsewhere, monkeypatch):
    monkeypatch.setattr("ragbench.load.senders.sys.executable", "/bin/false")
    rows = await send(elsewhere, [schedule(requests=3)])
    assert [row.status for row in rows] == ["unsent"] * 3
    assert "sender 1 of 1 exited with code 1" in rows[0].error


@pytest.mark.slow
async def test_when_the_server_dies_all_stop(elsewhere):
    seen = []

    async def dies():
        await one_sender(seen)

    rows = await send(elsewhere, shares(schedule(rate=10.0, duration_s=50.0), of=2), on_row=seen.append, ended=dies())
    assert len(rows) == 500
    assert rows[-1].status == "unsent"
    assert rows[-1].error is None
    assert sum(row.status == "ok" for row in rows) < 100


@pytest.mark.slow
async def test_cancelled_it_leaves_no_process(elsewhere):
    seen = []
    sending = asyncio.create_task(send(elsewhere, shares(schedule(duration_s=50.0), of=2), on_row=seen.append))
    await one_sender(seen)
    assert len(senders()) == 2
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert senders() == []
