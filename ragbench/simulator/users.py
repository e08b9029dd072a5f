"""Closed-loop users on one design in virtual time, as `load.fire` has them on a real one. Draws no schedule."""

from random import Random

from ragbench.results.records import Row
from ragbench.simulator.machine import Heap
from ragbench.simulator.run import DESIGNS, Settings, row_of
from ragbench.simulator.servers import Visit
from ragbench.simulator.service_times import ServiceTimes
from ragbench.study.questions import Question
from ragbench.study.schedule import Request

BACK_OFF_S = 0.1  # after a failed request, as in load.fire
APART_S = 0.0001  # the first requests of two users; no two are sent at one moment
_ASKED = Question("users", "?")


def run_users(
    users: int,
    *,
    duration_s: float,
    design: str,
    settings: Settings,
    times: ServiceTimes,
    timeout_s: float,
    seed: int,
) -> list[Row]:
    """One row a request in the order in which they are due: each user asks, waits for the answer, and asks again.

    Requests that are due before `duration_s` are run to their end. The first user begins at 0.
    """
    heap = Heap()
    service = DESIGNS[design](heap, times, settings, Random(seed))
    rows: dict[int, Row] = {}
    asked = 0

    def ask() -> None:
        nonlocal asked
        if heap.now >= duration_s:
            return
        request = Request(asked, heap.now, _ASKED)
        deadline_s = heap.now + timeout_s
        asked += 1

        def over(visit: Visit, status: str) -> None:
            way_back_s = max(0.0, visit.network_s - times.way_in_s) if status == "ok" else 0.0
            row = row_of(request, visit, status, done_s=heap.now + way_back_s, deadline_s=deadline_s)
            rows[request.number] = row
            heap.at((row.done_s or heap.now) + (0.0 if row.status == "ok" else BACK_OFF_S), ask)

        visit = Visit(min(deadline_s, heap.now + settings.get("request_timeout_s", timeout_s)), over)
        heap.at(heap.now + times.way_in_s, service.submit, visit)

    for user in range(users):
        heap.at(user * APART_S, ask)
    heap.run(until=lambda: heap.now >= duration_s and len(rows) == asked)
    return [rows[number] for number in range(asked)]
