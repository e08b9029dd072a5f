"""What a fault finds: the fleet, the clock of the load, the rate. And when faults are due. Breaks nothing itself."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ragbench.chaos.exchange import Exchange
from ragbench.chaos.fleet import Fleet, Replica
from ragbench.chaos.replacement import watch
from ragbench.chaos.witness import Manner, witness
from ragbench.load.client import Clock
from ragbench.load.fire import fire
from ragbench.study.arrivals import Span
from ragbench.study.questions import Question
from ragbench.study.schedule import Request, Turns, make_schedule

_CALM_S = 10.0  # before the first fault, and between one and the next
_LOOK_S = 0.05


class NoReplica(RuntimeError):
    """A fault needs a replica that the fleet has not."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all scenarios of one call. Commands come without a port, which is added.

    `load`: share of the capacity that is sent throughout.
    """

    fleet: Sequence[str]
    replica: Sequence[str]
    questions: tuple[Question, ...]
    duration_s: float = 30.0
    late_s: float = 1.0
    timeout_s: float = 10.0
    load: float = 0.6
    seed: int = 1

    @property
    def echoes(self) -> bool:
        """Whether the fleet runs the stub, whose answer is the question."""
        return "stub" in self.fleet

    def manner(self, prefix: str) -> Manner:
        """How clients behave unless the scenario says otherwise."""
        return Manner(prefix, timeout_s=self.timeout_s, echoes=self.echoes)

    def open_loop(self, rate_rps: float, duration_s: float) -> tuple[Request, ...]:
        """Poisson load."""
        span = Span(duration_s=duration_s)
        return make_schedule("poisson", rate_rps, span=span, seed=self.seed, questions=self.questions)

    def closed_loop(self, users: int, duration_s: float) -> Turns:
        """Users who each ask, wait and ask again."""
        return Turns(users, Span(duration_s=duration_s), self.seed, self.questions)


@dataclass(slots=True)
class Stage:
    """A scenario while it runs.

    `faults_s`: when it broke; `mishaps`: why it could not be broken.
    `figures`: what the fault itself measured.
    `crowd`: what became of requests beside those of the load itself; `crowd_s`: from when until when they were due.
    """

    fleet: Fleet
    terms: Terms
    folder: Path
    capacity_rps: float
    rng: np.random.Generator
    until_the_end: AsyncExitStack
    clock: Clock = field(default=lambda: 0.0)
    faults_s: list[float] = field(default_factory=list)
    mishaps: list[str] = field(default_factory=list)
    crowd: list[Exchange] = field(default_factory=list)
    crowd_s: tuple[float, float] = (0.0, 0.0)
    figures: dict[str, float | None] = field(default_factory=dict)

    def fault_strikes(self) -> None:
        """Recovery counts from now, when it broke, not from when the fault was due."""
        self.faults_s[-1] = self.clock()

    def fault_is_over(self) -> None:
        """Recovery counts from now, not from when the fault began."""
        self.faults_s[-1] = self.clock()

    def fault_ended_with_the_crowd(self) -> None:
        """Recovery counts from when the last of the crowd's requests was due."""
        self.faults_s[-1] = self.crowd_s[1]

    async def see_replaced(
        self, victim: Replica, *, needs_successor: bool = True, ready_before: int | None = None
    ) -> None:
        """Measure from now, when the fault strikes, how soon the fleet leaves the victim alone and has another.

        `ready_before`: how many were ready until then, where it may have struck already.
        """
        before = len(await self.fleet.replicas("ready")) if ready_before is None else ready_before
        limit_s = 2 * self.terms.duration_s / 3
        seen = await watch(self.fleet, victim, before=before, limit_s=limit_s, needs_successor=needs_successor)
        self.figures |= seen.figures
        self.mishaps += seen.mishaps

    async def a_ready_replica(self) -> Replica:
        """One of those that the fleet started itself, by chance; waits until there is one."""
        return await self._a_replica("ready")

    async def a_starting_replica(self) -> Replica:
        """The same of those that are not ready yet."""
        return await self._a_replica("starting")

    async def add_load(self, load: Sequence[Request] | Turns, manner: Manner, *, duration_s: float) -> None:
        """Fire a second load beside the first, and wait for its end."""
        self.crowd_s = (self.clock(), self.clock() + duration_s)
        async with witness(self.fleet.url, manner, self.rng) as crowd:
            self.crowd += crowd.exchanges(await fire(load, crowd))

    async def _a_replica(self, state: str) -> Replica:
        while True:
            found = [replica for replica in await self.fleet.replicas(state) if replica.pid is not None]
            if found:
                return found[int(self.rng.integers(len(found)))]
            await asyncio.sleep(_LOOK_S)


def calm_s(duration_s: float) -> float:
    """How long the fleet is left alone before the first fault, and between faults."""
    return min(_CALM_S, duration_s / 3)


def repeated_s(first_s: float, end_s: float) -> list[float]:
    """From `first_s` on every `first_s`, with as much left after the last."""
    count = int(end_s / first_s + 1e-9) - 1
    return [first_s * (1 + i) for i in range(count)]
