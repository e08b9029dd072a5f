"""One experiment from start to end: launch the fleet, load it, inject the fault, count, stop the fleet."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import aiohttp
import numpy as np
import psutil

from ragbench.chaos.client import ChaosClient
from ragbench.chaos.experiment import Experiment, NoReplica, Terms, quiet_s
from ragbench.chaos.figures import Figures, send_lag_p99_ms
from ragbench.chaos.fleet import Fleet, Footprint, answered_twice, launch, logs_of
from ragbench.chaos.outcome import Tally, fates, loss_notes, recovery_s
from ragbench.chaos.scenarios import AFTER_QUIET, LOG_FOLDER, Scenario
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
_POLL_S = 0.2
_LAST_S = 5.0
_FAULT_S = 3.0  # a replica counts from its own start, before that of the load


class NoCapacity(RuntimeError):
    """The fleet answered nothing before anything was broken."""


async def measure_capacity(terms: Terms, folder: Path) -> float:
    """Answers a second under closed-loop load, from a fleet started for this. Raises ChildError, NoCapacity."""
    fleet = await launch(terms.fleet, folder, front=terms.front)
    try:
        client = terms.client("capacity", np.random.default_rng(terms.seed))
        async with client.connected(fleet.service_url):
            await fire(terms.closed_loop(_CAPACITY_USERS, _CAPACITY_S), client)
    finally:
        await fleet.stop()
    ends_s = [each.row.done_s or 0.0 for each in client.exchanges if each.fate == "answered"]
    rate_rps = sum(_WARM_UP_S <= end_s < _CAPACITY_S for end_s in ends_s) / (_CAPACITY_S - _WARM_UP_S)
    if not rate_rps:
        raise NoCapacity(f"the fleet gave no right answer within {_CAPACITY_S:g} s; {fleet.server.log_end()}")
    return rate_rps


async def run(
    name: str, scenario: Scenario, terms: Terms, *, capacity_rps: float, folder: Path, on_row: OnRow | None = None
) -> Tally:
    """The scenario's row; logs go to `folder`. Raises ChildError."""
    fault_s = f"{quiet_s(terms.duration_s) + _FAULT_S:g}"
    flags = [flag.replace(LOG_FOLDER, str(folder)).replace(AFTER_QUIET, fault_s) for flag in scenario.flags]
    for stale in logs_of(folder):  # replicas append to their logs
        stale.unlink()
    fleet = await launch([*scenario.wrapper, *terms.fleet, *flags], folder, front=terms.front)
    end_s = scenario.length * terms.duration_s
    try:
        async with AsyncExitStack() as resources:
            experiment = Experiment(fleet, terms, folder, capacity_rps, np.random.default_rng(terms.seed), resources)
            retries = await fleet.retries()
            client = await _load(name, scenario, experiment, end_s, on_row)
            retried = _growth(retries, await fleet.retries())
        state_at_end = await _state_at_end(fleet)
        experiment.footprints.append(await _footprint_at_rest(experiment, end_s))
        if failure := fleet.server.failure():
            experiment.failures.append(failure)
    finally:
        orphans = await fleet.stop()
    everything = [*experiment.exchanges, *experiment.crowd]
    recovered_s = recovery_s(experiment.exchanges, experiment.faults_s, end_s=end_s)
    if experiment.faults_s and recovered_s is None:
        experiment.failures.append("it did not recover")
    return Tally(
        scenario=name,
        **fates(everything, late_s=terms.late_s),
        retried=retried,
        duplicated=answered_twice(logs_of(folder)),
        refused=client.refused,
        recovery_s=recovered_s,
        orphans=orphans,
        figures={
            "send_lag_p99_ms": send_lag_p99_ms(everything),
            **(scenario.figures(experiment) if scenario.figures else {}),
            **experiment.figures,
            **({"hung_up": client.hung_up} if scenario.hang_up_share else {}),
            **state_at_end,
        },
        notes=loss_notes(everything),
        failures=tuple(experiment.failures),
    )


async def _load(
    name: str, scenario: Scenario, experiment: Experiment, end_s: float, on_row: OnRow | None
) -> ChaosClient:
    """Fire the load; beside it, inject the fault and sample the processes."""
    terms, fleet = experiment.terms, experiment.fleet
    client = terms.client(name, experiment.rng)
    client.headers, client.hang_up_share = scenario.headers, scenario.hang_up_share
    if scenario.users is not None:
        load: Sequence[Request] | Turns = terms.closed_loop(scenario.users, end_s)
    else:
        load = terms.open_loop((scenario.load or terms.load) * experiment.capacity_rps, end_s)
    injected = asyncio.Event()
    watchers: list[Watcher] = [
        partial(_sample, experiment),
        partial(_inject, experiment, scenario, injected),
    ]
    async with client.connected(fleet.service_url):

        async def work(origin: Origin) -> list[Row]:
            rows = await fire(load, client, origin=origin, on_row=on_row)
            limit_s = terms.timeout_s + _LAST_S
            try:
                await asyncio.wait_for(injected.wait(), limit_s)  # a crowd may still wait for its last answers
            except TimeoutError:
                experiment.failures.append(f"the fault was not done {limit_s:g} s after the load")
            return rows

        await beside(work, origin=soon, watchers=watchers)
    experiment.exchanges = client.exchanges
    return client


async def _inject(experiment: Experiment, scenario: Scenario, injected: asyncio.Event, clock: Clock) -> None:
    """Inject each fault when it is due. One that cannot be injected is a failure; the load goes on."""
    experiment.clock = clock
    for due_s, fault in scenario.faults(experiment.terms.duration_s):
        await asyncio.sleep(max(0.0, due_s - clock()))
        experiment.faults_s.append(clock())
        try:
            await fault(experiment)
        except (aiohttp.ClientError, OSError, ChildError, psutil.Error, NoReplica) as error:
            experiment.faults_s.pop()
            experiment.failures.append(f"the fault could not be made: {error}")
            break
    injected.set()


async def _sample(experiment: Experiment, clock: Clock) -> None:
    """Take a footprint once a second until cancelled."""
    while True:
        experiment.footprints.append(await asyncio.to_thread(experiment.fleet.footprint, clock()))
        await asyncio.sleep(_SAMPLE_S)


async def _footprint_at_rest(experiment: Experiment, end_s: float) -> Footprint:
    """The footprint once descriptors are as few as before the load, or after _IDLE_S.

    Servers close idle connections only after a time of their own.
    """
    until_s = time.monotonic() + _IDLE_S
    while True:
        footprint = experiment.fleet.footprint(end_s)
        if time.monotonic() > until_s or footprint.descriptors <= experiment.footprints[0].descriptors:
            return footprint
        await asyncio.sleep(_SAMPLE_S)


async def _state_at_end(fleet: Fleet) -> Figures:
    """The fleet's report after the load, once nothing is outstanding, or after _SETTLED_S."""
    until_s = time.monotonic() + _SETTLED_S
    while True:
        replicas = await fleet.replicas()
        outstanding = sum(replica.outstanding for replica in replicas)
        if not outstanding or time.monotonic() > until_s:
            break
        await asyncio.sleep(_POLL_S)
    if not replicas:
        return {}
    return {"ready_at_end": sum(each.state == "ready" for each in replicas), "outstanding_at_end": outstanding}


def _growth(before: int | None, after: int | None) -> int | None:
    """The growth of a counter, which begins again at 0 where its process does."""
    return after if before is None or after is None or after < before else after - before
