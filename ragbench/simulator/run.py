"""One load on one design in virtual time: requests in, rows out."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from policies import batching, routing, scaling
from policies.admission import Admission
from ragbench.results.records import ReplicaCount, Row
from ragbench.simulator.fleet import Fleet
from ragbench.simulator.machine import Heap, Machine
from ragbench.simulator.servers import Server, Visit
from ragbench.simulator.service_times import ServiceTimes
from ragbench.study.schedule import Request

Settings = Mapping[str, Any]
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

    `settings`: as a server of the design reports them. `events`: (seconds of the schedule, what is then called with the
    design). The same seed gives the same rows.
    """
    heap = Heap()
    service = DESIGNS[design](heap, times, settings, Random(seed))
    rows: dict[int, Row] = {}

    def arrive(place: int) -> None:
        request = schedule[place]
        # Each arrival calls for the next: the heap stays as small as what is under way.
        if place + 1 < len(schedule):
            heap.at(schedule[place + 1].due_s + times.way_in_s, arrive, place + 1)
        deadline_s = request.due_s + timeout_s

        def over(visit: Visit, status: str) -> None:
            way_back_s = max(0.0, visit.network_s - times.way_in_s) if status == "ok" else 0.0
            rows[request.number] = row_of(request, visit, status, done_s=heap.now + way_back_s, deadline_s=deadline_s)

        service.submit(Visit(min(deadline_s, heap.now + settings.get("request_timeout_s", timeout_s)), over))

    for moment, act in events:
        heap.at(moment, act, service)
    if schedule:
        heap.at(schedule[0].due_s + times.way_in_s, arrive, 0)
    heap.run(until=lambda: len(rows) == len(schedule))
    return [rows[request.number] for request in schedule], service.counts if isinstance(service, Fleet) else []


def row_of(request: Request, visit: Visit, status: Any, *, done_s: float, deadline_s: float) -> Row:
    """As the client has it, which waits no longer than `deadline_s`, whatever the server does."""
    if done_s > deadline_s:
        status, done_s = "timeout", deadline_s
    due_s, is_ok = request.due_s, status == "ok"
    reported = {"http_status": 200, **visit.reported} if is_ok else {"error": "simulated"}
    return Row(request.number, request.question.id, due_s, due_s, done_s, done_s - due_s, 0.0, status, **reported)


def baseline(heap: Heap, times: ServiceTimes, settings: Settings, rng: Random) -> Server:
    """One request at a time, in order of arrival, without a bound."""
    del settings
    machine, policy = Machine(heap, times.slowdown), batching.SizeOrAge(1, 0.0)
    return Server(heap=heap, times=times, policy=policy, admission=None, rng=rng, machine=machine)


def batched(
    heap: Heap, times: ServiceTimes, settings: Settings, rng: Random, *, machine: Machine | None = None
) -> Server:
    """A bounded queue and a batch policy."""
    return Server(
        heap=heap,
        times=times,
        policy=_made(batching.POLICIES[settings["policy"]], settings),
        admission=Admission(settings["max_queue"], settings.get("max_predicted_wait_s")),
        rng=rng,
        machine=machine or Machine(heap, times.slowdown),
    )


def scaled(heap: Heap, times: ServiceTimes, settings: Settings, rng: Random) -> Fleet:
    """A fleet of batched replicas. With `own_machines` no replica slows another; otherwise as much as was measured."""
    shared = None if settings.get("own_machines") else Machine(heap, times.slowdown)
    cooldowns_s = (settings["up_cooldown_s"], settings["down_cooldown_s"])
    limits = scaling.Limits(settings["min_replicas"], settings["max_replicas"], *cooldowns_s)
    return Fleet(
        heap=heap,
        make_server=lambda: batched(heap, times, settings, rng, machine=shared),
        route=routing.POLICIES[settings["routing"]],
        scaling=_made(scaling.POLICIES[settings["scaling"]], settings, limits=limits),
        replicas=limits.min_replicas,
        interval_s=settings["scale_interval_s"],
        cold_start_s=settings.get("cold_start_s", times.cold_start_s),
        rng=rng,
    )


def _made(policy: Callable[..., Any], settings: Settings, **given: Any) -> Any:
    """The policy with the settings that are called like its parameters, as the servers make it."""
    wanted = [name for name in inspect.signature(policy).parameters if name in settings]
    return policy(**given, **{name: settings[name] for name in wanted})


DESIGNS: dict[str, Callable[[Heap, ServiceTimes, Settings, Random], Server | Fleet]] = {
    "baseline": baseline,
    "batched": batched,
    "scaled": scaled,
}
