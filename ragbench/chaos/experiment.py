"""An experiment while it runs, as faults and figures see it: fleet, load, clock, outcome. Breaks nothing itself."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ragbench.chaos.client import ChaosClient
from ragbench.chaos.fleet import Fleet, Footprint, Replica
from ragbench.chaos.outcome import Exchange
from ragbench.load.client import Clock
from ragbench.load.fire import fire
from ragbench.study.arrivals import Span
from ragbench.study.questions import Question
from ragbench.study.schedule import Request, Turns, make_schedule

_QUIET_S = 10.0  # before the first fault, and between faults
_POLL_S = 0.05
LONGEST_EJECTION_S = 10.0
_DECISION_S = 2.0  # for the third heartbeat, and for the next scaling decision


class NoReplica(RuntimeError):
    """A fault needs a replica that the fleet does not have."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What all experiments of one call have in common. The commands have no port; it is added.

    `load`: the share of the capacity that is sent throughout. `front`: the URL of a proxy to which it is sent instead
    of to the fleet, and `reload` the command that reloads that proxy.
    """

    fleet: Sequence[str]
    replica: Sequence[str]
    questions: tuple[Question, ...]
    duration_s: float = 30.0
    late_s: float = 1.0
    timeout_s: float = 10.0
    load: float = 0.6
    seed: int = 1
    front: str | None = None
    reload: Sequence[str] = ()

    @property
    def echoes(self) -> bool:
        """Whether the fleet runs the stub, whose answer is the question."""
        return "stub" in self.fleet

    def client(self, prefix: str, rng: np.random.Generator) -> ChaosClient:
        """A client of one load, as it behaves unless the scenario changes it."""
        return ChaosClient(prefix, rng, timeout_s=self.timeout_s, echoes=self.echoes)

    def open_loop(self, rate_rps: float, duration_s: float) -> tuple[Request, ...]:
        """Poisson load."""
        span = Span(duration_s=duration_s)
        return make_schedule("poisson", rate_rps, span=span, seed=self.seed, questions=self.questions)

    def closed_loop(self, users: int, duration_s: float) -> Turns:
        """Users who each ask, wait for the answer and ask again."""
        return Turns(users, Span(duration_s=duration_s), self.seed, self.questions)


@dataclass(slots=True)
class Experiment:
    """One scenario on one fleet.

    `resources` are closed after the load. `faults_s`: times of the faults; `failures`: why a fault could not be
    injected, or what took too long; `figures`: measured by the fault itself. `exchanges`: the requests of the load.
    `crowd`: the requests of a second load, due within `crowd_s` (begin, end). `footprints`: one a second under load,
    and one after the last request has ended.
    """

    fleet: Fleet
    terms: Terms
    folder: Path
    capacity_rps: float
    rng: np.random.Generator
    resources: AsyncExitStack
    clock: Clock = field(default=lambda: 0.0)
    faults_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    figures: dict[str, float | None] = field(default_factory=dict)
    exchanges: Sequence[Exchange] = ()
    crowd: list[Exchange] = field(default_factory=list)
    crowd_s: tuple[float, float] = (0.0, 0.0)
    footprints: list[Footprint] = field(default_factory=list)

    def count_recovery_from(self, t_s: float | None = None) -> None:
        """Count the recovery from `t_s`, or from now, instead of from when the fault was due."""
        self.faults_s[-1] = self.clock() if t_s is None else t_s

    async def watch_replaced(
        self, victim: Replica, *, needs_successor: bool = True, ready_before: int | None = None
    ) -> None:
        """Measure, from now, how soon the fleet ejects the victim and has another replica; failures say what is late.

        `ejected_s`: until the victim gets no more requests. `successor_s`: from then until as many others are ready as
        were before the fault: `ready_before`, else those that are ready now. `start_s`: the longest start of a replica.
        None: it did not happen within two thirds of the duration.
        """
        before = len(await self.fleet.replicas("ready")) if ready_before is None else ready_before
        began_s = time.monotonic()
        ejected_s = successor_s = None
        while successor_s is None and (now_s := time.monotonic() - began_s) < 2 * self.terms.duration_s / 3:
            serving = [replica for replica in await self.fleet.replicas("ready") if not replica.ejected]
            others = [replica for replica in serving if (replica.url, replica.pid) != (victim.url, victim.pid)]
            if ejected_s is None and len(others) == len(serving):
                ejected_s = now_s
            if ejected_s is not None and not needs_successor:
                break
            if ejected_s is not None and len(others) >= before:
                successor_s = now_s - ejected_s
            await asyncio.sleep(_POLL_S)
        self.figures["ejected_s"] = ejected_s
        if ejected_s is None or ejected_s > LONGEST_EJECTION_S:
            self.failures.append(f"the bad replica was not ejected within {LONGEST_EJECTION_S:g} s")
        if needs_successor:
            start_s = await self.fleet.longest_start_s()
            limit_s = (start_s or 0.0) + _DECISION_S
            self.figures |= {"successor_s": successor_s, "start_s": start_s}
            if successor_s is None or successor_s > limit_s:
                self.failures.append(f"its successor was not ready within {limit_s:.1f} s")

    async def random_replica(self, state: str = "ready") -> Replica:
        """A random replica in `state` that the fleet itself started; waits until there is one."""
        while True:
            own = [replica for replica in await self.fleet.replicas(state) if replica.pid is not None]
            if own:
                return own[int(self.rng.integers(len(own)))]
            await asyncio.sleep(_POLL_S)

    async def add_load(self, load: Sequence[Request] | Turns, client: ChaosClient, *, duration_s: float) -> None:
        """Fire a second load beside the first, and wait for its answers. The recovery counts from its end."""
        self.crowd_s = (self.clock(), self.clock() + duration_s)
        async with client.connected(self.fleet.service_url):
            await fire(load, client)
        self.crowd += client.exchanges
        self.count_recovery_from(self.crowd_s[1])


def quiet_s(duration_s: float) -> float:
    """Time without a fault, before the first one and between faults."""
    return min(_QUIET_S, duration_s / 3)
