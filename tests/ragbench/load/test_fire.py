import asyncio
import gc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragbench.load.fire import beside, fire, soon, watch_replicas
from ragbench.results.records import ReplicaCount, Row
from ragbench.study.arrivals import Span
from ragbench.study.questions import Question
from ragbench.study.schedule import Request, Turns
from tests.virtual import now, run


class Service:
    """Answers after `service_s` of virtual time; remembers what it was asked and when."""

    def __init__(self, service_s=0.01, *, replicas=False):
        self.service_s = service_s
        self.asked = []
        self.sent_s = []
        self.in_flight = self.most_in_flight = 0
        self.replicas = replicas
        self.prepared_s = []

    def prepare(self, request):
        self.prepared_s.append(now())
        return Prepared(request)

    async def ask(self, prepared, clock):
        request, sent_s = prepared.request, clock()
        self.asked.append(request.number)
        self.sent_s.append(sent_s)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(self.service_s)
        self.in_flight -= 1
        return Row(request.number, "q", request.due_s, sent_s, clock(), clock() - request.due_s, 0.0, "ok")

    async def replica_count(self, clock):
        return ReplicaCount(clock(), 2, 0, 0) if self.replicas else None


class Prepared:
    def __init__(self, request):
        self.request = request


def schedule(due):
    return tuple(Request(i, due_s, Question(f"q{i}", "?")) for i, due_s in enumerate(due))


dues = st.lists(st.floats(0, 10), max_size=60).map(sorted)


@settings(max_examples=8)  # each collects all garbage there is
@given(dues, st.floats(0, 3))
def test_every_request_is_sent_once_when_due_and_gives_one_row(due, service_s):
    service = Service(service_s)
    rows = run(fire(schedule(due), service))
    assert service.asked == list(range(len(due)))
    assert service.sent_s == pytest.approx(due, abs=1e-6)
    assert [row.request for row in rows] == list(range(len(due)))
    assert [row.latency_s for row in rows] == pytest.approx([service_s] * len(due), abs=1e-6)


def test_a_stalled_service_does_not_slow_the_sending():
    service = Service(service_s=1000.0)
    rows = run(fire(schedule([i / 10 for i in range(100)]), service))
    assert service.most_in_flight == 100
    assert [row.status for row in rows] == ["ok"] * 100


def test_a_late_start_is_caught_up_with_and_delays_no_other():
    class Stalling(Service):
        """Holds the loop for a second at the third request, as a pause of the interpreter would."""

        async def ask(self, prepared, clock):
            if prepared.request.number == 2:
                asyncio.get_running_loop().now += 1.0
            return await super().ask(prepared, clock)

    service = Stalling()
    run(fire(schedule([i / 10 for i in range(20)]), service))
    assert service.sent_s[2:13] == pytest.approx([1.2] * 11)  # those due meanwhile go at once
    assert service.sent_s[13:] == pytest.approx([i / 10 for i in range(13, 20)])  # and the rest when due


def test_everything_is_prepared_before_the_first_is_due():
    service = Service()

    async def work():
        await fire(schedule([0.0, 5.0]), service)

    run(work())
    assert service.prepared_s == [0.0, 0.0]


def test_rows_are_told_as_they_come():
    seen = []
    run(fire(schedule([0.0, 0.1, 0.2]), Service(1.0), on_row=lambda row: seen.append((row.request, now()))))
    assert [number for number, _ in seen] == [0, 1, 2]
    assert [when for _, when in seen] == pytest.approx([1.02, 1.12, 1.22])


def test_when_the_server_dies_what_is_left_is_unsent_and_what_is_out_still_ends():
    service = Service(0.3)
    rows = run(fire(schedule([0.0, 0.1, 0.2, 5.0, 6.0]), service, ended=asyncio.sleep(0.25)))
    assert [row.status for row in rows] == ["ok", "ok", "ok", "unsent", "unsent"]
    assert [row.due_s for row in rows] == [0.0, 0.1, 0.2, 5.0, 6.0]
    assert rows[3].sent_s is None


def beside_it(service, due):
    """Replica counts taken beside a load."""
    counts = []

    async def work():
        sending = partial(fire, schedule(due), service)
        watchers = [partial(watch_replicas, service, counts)]
        return await beside(sending, origin=soon, watchers=watchers)

    run(work())
    return counts


def test_replicas_are_counted_twice_a_second_where_the_service_tells():
    counts = beside_it(Service(replicas=True), [0.0, 2.1])
    assert [count.t_s for count in counts] == pytest.approx([-0.02, 0.5, 1.0, 1.5, 2.0])
    assert beside_it(Service(), [0.0, 2.1]) == []


def test_the_clock_of_watchers_and_of_rows_is_one():
    seen = []

    async def watcher(clock):
        await asyncio.sleep(1.0)
        seen.append(clock())

    async def work():
        async def origin():
            return now() + 0.25

        sending = partial(fire, schedule([0.0, 2.0]), Service())
        return await beside(sending, origin=origin, watchers=[watcher])

    rows = run(work())
    assert seen == pytest.approx([0.75])
    assert [row.sent_s for row in rows] == pytest.approx([0.0, 2.0])


QUESTIONS = tuple(Question(f"q{i}", "?") for i in range(3))


def turns(users, **span):
    return Turns(users, Span(**span), 1, QUESTIONS)


def test_users_ask_again_when_they_are_answered():
    service = Service(0.5)
    rows = run(fire(turns(2, duration_s=1.75), service))
    assert service.sent_s == pytest.approx([0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.5, 1.5])  # those of 1.5 end at 2.0
    assert service.most_in_flight == 2
    assert [row.request for row in rows] == list(range(8))
    assert [row.due_s for row in rows] == pytest.approx(service.sent_s)
    assert [row.latency_s for row in rows] == pytest.approx([0.5] * 8)


def test_users_send_exactly_as_many_as_wanted_and_every_question_before_any_again():
    service = Service(0.5)
    rows = run(fire(turns(4, requests=6), service))
    assert sorted(service.asked) == [0, 1, 2, 3, 4, 5]
    questions = [question.id for _, question in turns(4, requests=6).asked()]
    assert {*questions[:3]} == {*questions[3:]} == {"q0", "q1", "q2"}
    assert len(rows) == 6


def test_a_user_who_is_refused_waits_before_asking_again():
    class Refusing(Service):
        async def ask(self, prepared, clock):
            return replace(await super().ask(prepared, clock), status="rejected")

    service = Refusing(0.0)
    run(fire(turns(1, duration_s=1.0), service))
    assert len(service.sent_s) == 10


def test_users_stop_when_the_server_dies_and_the_rest_is_unsent():
    rows = run(fire(turns(2, requests=7), Service(0.5), ended=asyncio.sleep(0.75)))
    assert [row.status for row in rows] == ["ok"] * 4 + ["unsent"] * 3
    rows = run(fire(turns(2, duration_s=9.0), Service(0.5), ended=asyncio.sleep(0.75)))
    assert [row.status for row in rows] == ["ok"] * 4


class Stalled(Service):
    """Answers in 10 ms, but nothing from second 4 to second 6: those asked meanwhile are answered at 6.01."""

    async def ask(self, prepared, clock):
        self.service_s = 0.01 + (6.0 - clock() if 4.0 <= clock() < 6.0 else 0.0)
        return await super().ask(prepared, clock)


def test_an_open_loop_shows_a_stall_and_a_closed_one_hides_it():
    # Open: 50/s for 20 s is 1000 requests. Those due in the 2 s of the stall are 100, a tenth, and wait 1.99, 1.97,
    # ... 0.01 s more. The slowest 1% of all is the slowest tenth of those: p99 = 0.01 + 0.9 x 2 s, within a gap.
    open_rows = run(fire(schedule([(i + 0.5) / 50 for i in range(1000)]), Stalled()))
    latencies = [row.latency_s for row in open_rows]
    assert np.percentile(latencies, 99) == pytest.approx(0.01 + 0.9 * 2.0, abs=0.02)
    assert sum(latency > 0.011 for latency in latencies) == 100
    # Closed: one user, who asks 100 times a second, is held up once. Of 1800 answers only one is slow, so p99 is 10 ms.
    closed_rows = run(fire(turns(1, duration_s=20.0), Stalled()))
    closed = [row.latency_s for row in closed_rows]
    assert len(closed) == pytest.approx(1800, abs=5)
    assert np.percentile(closed, 99) == pytest.approx(0.01, abs=1e-6)
    assert sum(latency > 0.011 for latency in closed) == 1


def test_cancelled_it_leaves_no_request_behind():
    async def work():
        service = Service(1000.0)
        firing = asyncio.create_task(fire(schedule([0.0, 0.1, 50.0]), service, ended=asyncio.sleep(99)))
        await asyncio.sleep(1.0)
        firing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await firing
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert run(work()) == []


def test_the_collector_is_as_before_afterwards():
    run(fire(schedule([0.0]), Service()))
    assert gc.get_freeze_count() == 0
    assert gc.isenabled()
