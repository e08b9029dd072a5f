import asyncio
import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragbench.load import fire
from ragbench.records import ReplicaCount, Row
from ragbench.schedule import Request
from ragbench.workload import Question
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
    rows, _ = run(fire(schedule(due), service))
    assert service.asked == list(range(len(due)))
    assert service.sent_s == pytest.approx(due, abs=1e-6)
    assert [row.request for row in rows] == list(range(len(due)))
    assert [row.latency_s for row in rows] == pytest.approx([service_s] * len(due), abs=1e-6)


def test_a_stalled_service_does_not_slow_the_sending():
    service = Service(service_s=1000.0)
    rows, _ = run(fire(schedule([i / 10 for i in range(100)]), service))
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
    rows, _ = run(fire(schedule([0.0, 0.1, 0.2, 5.0, 6.0]), service, ended=asyncio.sleep(0.25)))
    assert [row.status for row in rows] == ["ok", "ok", "ok", "unsent", "unsent"]
    assert [row.due_s for row in rows] == [0.0, 0.1, 0.2, 5.0, 6.0]
    assert rows[3].sent_s is None


def test_replicas_are_counted_twice_a_second_where_the_service_tells():
    _, counts = run(fire(schedule([0.0, 2.1]), Service(replicas=True)))
    assert [count.t_s for count in counts] == pytest.approx([-0.02, 0.5, 1.0, 1.5, 2.0])
    _, counts = run(fire(schedule([0.0, 2.1]), Service()))
    assert counts == []


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
