"""One load on one design in virtual time: requests in, rows out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from ragbench.results.records import ReplicaCount, Row
from ragbench.simulator.designs import DESIGNS, Settings
from ragbench.simulator.fleet import Fleet
from ragbench.simulator.machine import Heap
from ragbench.simulator.servers import Visit
from ragbench.simulator.service_times import ServiceTimes
from ragbench.study.schedule import Request

Act = Callable[[Any], None]  # called with the design


def run(
    schedule: Sequence[Request],
    *,
    design: str,
    settings: Settings,
    times: ServiceTimes,
    timeout_s: float,
    seed: int,
    events: Sequence[tuple[float, Act]] = (),
) -> tuple[list[Row], list[ReplicaCount]]:
    """One row per request in the order in which they are due, as `load.fire` gives them, and the replica counts.

    `events`: (seconds of the schedule, what is then called with the design). The same seed gives the same rows.
    """
    heap = Heap()
    rng = Random(seed)
    service = DESIGNS[design](heap, times, settings, rng)
    rows: dict[int, Row] = {}
    way_in_s = times.way_in_s

    def arrive(request: Request) -> None:
        deadline_s = request.due_s + timeout_s

        def over(visit: Visit, status: str) -> None:
            row = _row(request, visit, status, ended_s=heap.now, way_in_s=way_in_s)
            rows[request.number] = row if (row.done_s or 0.0) <= deadline_s else _given_up(row, deadline_s)

        service.submit(Visit(min(deadline_s, heap.now + settings.get("request_timeout_s", timeout_s)), over))

    def next_one(place: int) -> None:
        # Each arrival calls for the next: the heap stays as small as what is under way.
        if place + 1 < len(schedule):
            heap.at(schedule[place + 1].due_s + way_in_s, next_one, place + 1)
        arrive(schedule[place])

    for moment, act in events:
        heap.at(moment, act, service)
    if schedule:
        heap.at(schedule[0].due_s + way_in_s, next_one, 0)
    heap.run(until=lambda: len(rows) == len(schedule))
    return [rows[request.number] for request in schedule], service.counts if isinstance(service, Fleet) else []


def _given_up(row: Row, deadline_s: float) -> Row:
    """As the client has it that waited no longer; the server went on."""
    return replace(
        Row(row.request, row.question, row.due_s, sent_s=row.sent_s, send_lag_s=row.send_lag_s),
        done_s=deadline_s,
        latency_s=deadline_s - row.due_s,
        status="timeout",
        error="simulated",
    )


def _row(request: Request, visit: Visit, status: str, *, ended_s: float, way_in_s: float) -> Row:
    due_s = request.due_s
    row = Row(request.number, request.question.id, due_s, sent_s=due_s, send_lag_s=0.0)
    if status != "ok":
        known: Any = status
        return replace(row, done_s=ended_s, latency_s=ended_s - due_s, status=known, error="simulated")
    done_s = ended_s + max(0.0, visit.network_s - way_in_s)
    return replace(
        row,
        done_s=done_s,
        latency_s=done_s - due_s,
        status="ok",
        http_status=200,
        queue_s=visit.started_s - visit.arrived_s,
        batch_size=visit.batch_size,
        close_reason=visit.close_reason,
        replica=visit.replica,
        embed_s=visit.stages_s[0],
        retrieve_s=visit.stages_s[1],
        generate_s=visit.stages_s[2],
    )
