"""One experiment from start to end: launch the fleet, load it, break it, count, stop it. Decides no figure."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import aiohttp
import numpy as np
import psutil

from ragbench.chaos.access_log import answered_twice, logs_of
from ragbench.chaos.client import connect_client
from ragbench.chaos.experiment import Experiment, NoReplica, Terms, calm_s, repeated_s
from ragbench.chaos.faults import Fault
from ragbench.chaos.figures import Figures, send_lag_p99_ms
from ragbench.chaos.fleet import Fleet, Footprint, launch
from ragbench.chaos.outcome import Tally, fates, loss_notes
from ragbench.chaos.recovery import recovery_s
from ragbench.chaos.scenarios import AFTER_CALM, LOG_FOLDER, Scenario
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
        async with connect_client(fleet.url, terms.behaviour("capacity"), np.random.default_rng(terms.seed)) as client:
            rows = await fire(terms.closed_loop(_CAPACITY_USERS, _CAPACITY_S), client)
            answered = [each for each in client.exchanges(rows) if each.fate == "answered"]
    finally:
        await fleet.stop()
    ends_s = [each.row.done_s for each in answered if each.row.done_s is not None]
    rate_rps = sum(_WARM_UP_S <= end < _CAPACITY_S for end in ends_s) / (_CAPACITY_S - _WARM_UP_S)
    if not rate_rps:
        raise NoCapacity(f"the fleet answered nothing rightly within {_CAPACITY_S:g} s; {fleet.log_end()}")
    return rate_rps


async def run(
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
    end_s = scenario.length * terms.duration_s
    try:
        async with AsyncExitStack() as until_the_end:
            experiment = Experiment(
                fleet, terms, folder, capacity_rps, np.random.default_rng(terms.seed), until_the_end
            )
            await _load(name, scenario, experiment, end_s, on_row)
        at_the_end = await _at_the_end(fleet)
        experiment.footprints.append(await _footprint_at_rest(experiment, end_s))
        failure = fleet.failure()
    finally:
        orphans = await fleet.stop()
    everything = [*experiment.exchanges, *experiment.crowd]
    recovered_s = recovery_s(experiment.exchanges, experiment.faults_s, end_s=end_s)
    failures = [*experiment.failures, *([failure] if failure else [])]
    if experiment.faults_s and recovered_s is None:
        failures.append("it did not recover")
    return Tally(
        scenario=name,
        **fates(everything, late_s=terms.late_s),
        retried=experiment.retried,
        duplicated=answered_twice(logs_of(folder)),
        refused=experiment.refused,
        recovery_s=recovered_s,
        orphans=orphans,
        figures={
            "send_lag_p99_ms": send_lag_p99_ms(everything),
            **(scenario.figures(experiment) if scenario.figures else {}),
            **experiment.figures,
            **({"hung_up": experiment.hung_up} if scenario.hang_up_share else {}),
            **at_the_end,
        },
        notes=loss_notes(everything),
        failures=tuple(failures),
    )


async def _load(name: str, scenario: Scenario, experiment: Experiment, end_s: float, on_row: OnRow | None) -> None:
    """Fire the load, with the fault and a look at the processes beside it."""
    terms, fleet = experiment.terms, experiment.fleet
    behaviour = replace(terms.behaviour(name), headers=scenario.headers, hang_up_share=scenario.hang_up_share)
    if scenario.users is not None:
        load: Sequence[Request] | Turns = terms.closed_loop(scenario.users, end_s)
    else:
        load = terms.open_loop((scenario.load or terms.load) * experiment.capacity_rps, end_s)
    watchers: list[Watcher] = [partial(_watch, experiment)]
    struck = asyncio.Event()
    if scenario.fault is not None:
        first_s = calm_s(terms.duration_s)
        due_s = repeated_s(first_s, end_s) if scenario.repeats else [first_s]
        watchers.append(partial(_strike, experiment, scenario.fault, due_s, struck))
    else:
        struck.set()
    before = await fleet.retries()
    async with connect_client(fleet.url, behaviour, experiment.rng) as client:

        async def work(origin: Origin) -> list[Row]:
            rows = await fire(load, client, origin=origin, on_row=on_row)
            await _until(struck, experiment, limit_s=terms.timeout_s + _LAST_S)
            return rows

        rows = await beside(work, origin=soon, watchers=watchers)
        experiment.exchanges = client.exchanges(rows)
    experiment.refused, experiment.hung_up = client.refused, len(client.hung_up)
    experiment.retried = _grown(before, await fleet.retries())


async def _until(struck: asyncio.Event, experiment: Experiment, *, limit_s: float) -> None:
    """A crowd may still wait for its last answers when the load is over."""
    try:
        async with asyncio.timeout(limit_s):
            await struck.wait()
    except TimeoutError:
        experiment.failures.append(f"the fault was not done {limit_s:g} s after the load")


async def _strike(
    experiment: Experiment, fault: Fault, due_s: Sequence[float], struck: asyncio.Event, clock: Clock
) -> None:
    """Each time it is due. What a fault needs and does not get is a line, and the load goes on."""
    experiment.clock = clock
    for due in due_s:
        await asyncio.sleep(max(0.0, due - clock()))
        experiment.faults_s.append(clock())
        try:
            await fault(experiment)
        except (aiohttp.ClientError, OSError, ChildError, psutil.Error, NoReplica) as error:
            experiment.faults_s.pop()
            experiment.failures.append(f"the fault could not be made: {error}")
            break
    struck.set()


async def _watch(experiment: Experiment, clock: Clock) -> None:
    """Take a footprint once a second until cancelled."""
    while True:
        experiment.footprints.append(await asyncio.to_thread(experiment.fleet.footprint, clock()))
        await asyncio.sleep(_SAMPLE_S)


async def _footprint_at_rest(experiment: Experiment, end_s: float) -> Footprint:
    """Once idle connections have been closed, for which servers take their time; as it is after that time."""
    until_s = asyncio.get_running_loop().time() + _IDLE_S
    while True:
        now = experiment.fleet.footprint(end_s)
        is_over = asyncio.get_running_loop().time() > until_s
        if is_over or now.descriptors <= experiment.footprints[0].descriptors:
            return now
        await asyncio.sleep(_SAMPLE_S)


async def _at_the_end(fleet: Fleet) -> Figures:
    """What the fleet reports once the load is over; it is given time to bring `outstanding` to 0."""
    until_s = asyncio.get_running_loop().time() + _SETTLED_S
    while True:
        replicas = await fleet.replicas()
        outstanding = sum(replica.outstanding for replica in replicas)
        if not outstanding or asyncio.get_running_loop().time() > until_s:
            break
        await asyncio.sleep(_LOOK_S)
    if not replicas:
        return {}
    return {"ready_at_end": sum(each.state == "ready" for each in replicas), "outstanding_at_end": outstanding}


def _grown(before: int | None, after: int | None) -> int | None:
    """The growth of a counter, which begins again at 0 where its process does."""
    if before is None or after is None:
        return after
    return after - before if after >= before else after
