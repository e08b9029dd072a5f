"""One scenario from start to end: launch the fleet, load it, break it, count, stop it. Decides no figure."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import aiohttp
import numpy as np
import psutil

from ragbench.chaos.access_log import answered_twice, logs_of
from ragbench.chaos.exchange import Exchange
from ragbench.chaos.faults import Fault
from ragbench.chaos.figures import Evidence, Figures, Footprint, send_lag_p99_ms
from ragbench.chaos.fleet import Fleet, held_by, launch
from ragbench.chaos.recovery import recovery_s
from ragbench.chaos.scenarios import AFTER_CALM, LOG_FOLDER, Scenario
from ragbench.chaos.stage import NoReplica, Stage, Terms, calm_s, repeated_s
from ragbench.chaos.tally import Tally, fates, told
from ragbench.chaos.witness import witness
from ragbench.load.client import Clock
from ragbench.load.fire import Origin, Watcher, beside, fire, soon
from ragbench.processes.child import ChildError
from ragbench.results.records import Row
from ragbench.study.schedule import Request, Turns

OnRow = Callable[[Row], None]

_CAPACITY_USERS = 96
_CAPACITY_S = 5.0
_WARM_UP_S = 1.0
_SAMPLE_S = 1.0
_SETTLED_S = 10.0
_IDLE_S = 15.0
_LOOK_S = 0.2
_LAST_S = 5.0
_FAULT_S = 3.0  # a replica counts from its own start, which is before the load's


class NoCapacity(RuntimeError):
    """The fleet answered nothing before anything was broken."""


async def measure_capacity(terms: Terms, folder: Path) -> float:
    """Answers per second that a fleet of its own gives users who ask by turns. Raises ChildError, NoCapacity."""
    fleet = await launch(terms.fleet, folder)
    try:
        async with witness(fleet.url, terms.manner("capacity"), np.random.default_rng(terms.seed)) as asker:
            rows = await fire(terms.closed_loop(_CAPACITY_USERS, _CAPACITY_S), asker)
            answered = [it for it in asker.exchanges(rows) if it.fate == "answered"]
    finally:
        await fleet.stop()
    ends_s = [it.row.done_s for it in answered if it.row.done_s is not None]
    rate_rps = sum(_WARM_UP_S <= end < _CAPACITY_S for end in ends_s) / (_CAPACITY_S - _WARM_UP_S)
    if not rate_rps:
        raise NoCapacity(f"the fleet answered nothing rightly within {_CAPACITY_S:g} s; {fleet.log_end()}")
    return rate_rps


async def play(
    name: str, scenario: Scenario, terms: Terms, *, capacity_rps: float, folder: Path, on_row: OnRow | None = None
) -> Tally:
    """The scenario's row; logs go to `folder`. Raises ChildError."""
    flags = [
        flag.replace(LOG_FOLDER, str(folder)).replace(AFTER_CALM, f"{calm_s(terms.duration_s) + _FAULT_S:g}")
        for flag in scenario.flags
    ]
    for stale in logs_of(folder):  # replicas append to theirs
        stale.unlink()
    fleet = await launch([*scenario.wrapper, *terms.fleet, *flags], folder)
    try:
        async with AsyncExitStack() as until_the_end:
            stage = Stage(fleet, terms, folder, capacity_rps, np.random.default_rng(terms.seed), until_the_end)
            act = await _act(name, scenario, stage, on_row)
        at_the_end = await _at_the_end(fleet)
        act.footprints.append(await _footprint_at_rest(fleet, act))
        failure = fleet.failure()
    finally:
        orphans = await fleet.stop()
    everything = [*act.exchanges, *stage.crowd]
    recovered_s = recovery_s(act.exchanges, stage.faults_s, end_s=act.end_s)
    return Tally(
        scenario=name,
        **fates(everything, late_s=terms.late_s),
        retried=act.retried,
        duplicated=answered_twice(logs_of(folder)),
        refused=act.refused,
        recovery_s=recovered_s,
        orphans=orphans,
        figures={
            "send_lag_p99_ms": send_lag_p99_ms(everything),
            **_own_figures(scenario, stage, act),
            **stage.figures,
            **act.counts,
            **at_the_end,
        },
        notes=told(everything),
        failures=(*stage.mishaps, *([failure] if failure else []), *_unrecovered(stage, recovered_s)),
    )


@dataclass(frozen=True, slots=True)
class _Act:
    """What the load itself brought."""

    exchanges: Sequence[Exchange]
    refused: int
    retried: int | None
    end_s: float
    footprints: list[Footprint]
    counts: Figures


async def _act(name: str, scenario: Scenario, stage: Stage, on_row: OnRow | None) -> _Act:
    """Fire the load, with the fault and a look at the processes beside it."""
    terms, footprints = stage.terms, list[Footprint]()
    end_s = scenario.length * terms.duration_s
    manner = replace(terms.manner(name), headers=scenario.headers, hang_up_share=scenario.hang_up_share)
    if scenario.users is not None:
        load: Sequence[Request] | Turns = terms.closed_loop(scenario.users, end_s)
    else:
        load = terms.open_loop((scenario.load or terms.load) * stage.capacity_rps, end_s)
    watchers: list[Watcher] = [partial(_watch, stage.fleet, footprints)]
    struck = asyncio.Event()
    if scenario.fault is not None:
        watchers.append(partial(_strike, stage, scenario.fault, _due_s(scenario, terms), struck))
    else:
        struck.set()
    before = await stage.fleet.retries()
    async with witness(stage.fleet.url, manner, stage.rng) as asker:

        async def work(*, origin: Origin) -> list[Row]:
            rows = await fire(load, asker, origin=origin, on_row=on_row)
            await _until(struck, stage, limit_s=terms.timeout_s + _LAST_S)
            return rows

        rows = await beside(work, origin=soon, watchers=watchers)
        exchanges = asker.exchanges(rows)
    counts = {"hung_up": len(asker.hung_up)} if scenario.hang_up_share else {}
    return _Act(exchanges, asker.refused, _grown(before, await stage.fleet.retries()), end_s, footprints, counts)


def _own_figures(scenario: Scenario, stage: Stage, act: _Act) -> Figures:
    if scenario.figures is None:
        return {}
    late_s = stage.terms.late_s
    return scenario.figures(
        Evidence(act.exchanges, stage.crowd, act.footprints, stage.capacity_rps, stage.crowd_s, late_s)
    )


def _due_s(scenario: Scenario, terms: Terms) -> list[float]:
    first_s = calm_s(terms.duration_s)
    return repeated_s(first_s, scenario.length * terms.duration_s) if scenario.repeats else [first_s]


async def _until(struck: asyncio.Event, stage: Stage, *, limit_s: float) -> None:
    """A crowd may still wait for its last answers when the load is over."""
    try:
        async with asyncio.timeout(limit_s):
            await struck.wait()
    except TimeoutError:
        stage.mishaps.append(f"the fault was not done {limit_s:g} s after the load")


async def _strike(stage: Stage, fault: Fault, due_s: Sequence[float], struck: asyncio.Event, clock: Clock) -> None:
    """Each time it is due. What a fault needs and does not get is a line, and the load goes on."""
    stage.clock = clock
    for due in due_s:
        await asyncio.sleep(max(0.0, due - clock()))
        stage.faults_s.append(clock())
        try:
            await fault(stage)
        except (aiohttp.ClientError, OSError, ChildError, psutil.Error, NoReplica) as error:
            stage.faults_s.pop()
            stage.mishaps.append(f"the fault could not be made: {error}")
            break
    struck.set()


async def _watch(fleet: Fleet, footprints: list[Footprint], clock: Clock) -> None:
    """Once a second until cancelled."""
    while True:
        footprints.append(await asyncio.to_thread(_footprint, fleet, clock()))
        await asyncio.sleep(_SAMPLE_S)


def _footprint(fleet: Fleet, t_s: float) -> Footprint:
    return Footprint(t_s, *held_by(fleet.members))


async def _footprint_at_rest(fleet: Fleet, act: _Act) -> Footprint:
    """Once idle connections have been closed, for which servers take their time; as it is after that time."""
    until_s = asyncio.get_running_loop().time() + _IDLE_S
    while True:
        now = _footprint(fleet, act.end_s)
        if now.descriptors <= act.footprints[0].descriptors or asyncio.get_running_loop().time() > until_s:
            return now
        await asyncio.sleep(_SAMPLE_S)


async def _at_the_end(fleet: Fleet) -> Figures:
    """What the fleet tells once the load is over; it is given time to bring `outstanding` to 0."""
    until_s = asyncio.get_running_loop().time() + _SETTLED_S
    while True:
        replicas = await fleet.replicas()
        outstanding = sum(replica.outstanding for replica in replicas)
        if not outstanding or asyncio.get_running_loop().time() > until_s:
            break
        await asyncio.sleep(_LOOK_S)
    if not replicas:
        return {}
    return {"ready_at_end": sum(it.state == "ready" for it in replicas), "outstanding_at_end": outstanding}


def _unrecovered(stage: Stage, recovered_s: float | None) -> list[str]:
    return ["it did not recover"] if stage.faults_s and recovered_s is None else []


def _grown(before: int | None, after: int | None) -> int | None:
    """Of a counter, which begins again at 0 where its process does."""
    if before is None or after is None:
        return after
    return after - before if after >= before else after
