"""An experiment while it runs, as faults and figures see it: fleet, load, clock, outcome. Breaks nothing itself."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ragbench.chaos.client import Behaviour, connect_client
from ragbench.chaos.fleet import Fleet, Footprint, Replica, watch_replacement
from ragbench.chaos.outcome import Exchange
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
    """What holds for all experiments of one call. Commands come without a port, which is added.

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

    def behaviour(self, prefix: str) -> Behaviour:
        """How clients behave unless the scenario says otherwise."""
        return Behaviour(prefix, timeout_s=self.timeout_s, echoes=self.echoes)

    def open_loop(self, rate_rps: float, duration_s: float) -> tuple[Request, ...]:
        """Poisson load."""
        span = Span(duration_s=duration_s)
        return make_schedule("poisson", rate_rps, span=span, seed=self.seed, questions=self.questions)

    def closed_loop(self, users: int, duration_s: float) -> Turns:
        """Users who each ask, wait and ask again."""
        return Turns(users, Span(duration_s=duration_s), self.seed, self.questions)


@dataclass(slots=True)
class Experiment:
    """One scenario on one fleet.

    `faults_s`: when it broke; `failures`: why it could not be broken, or what took too long. `figures`: what the fault
    itself measured. `exchanges`: what became of the requests of the load; `refused`, `retried`, `hung_up`: how many of
    them. `crowd`: what became of requests beside these; `crowd_s`: from when until when they were due. `footprints`:
    one a second under load, and a last one once nothing is outstanding.
    """

    fleet: Fleet
    terms: Terms
    folder: Path
    capacity_rps: float
    rng: np.random.Generator
    until_the_end: AsyncExitStack
    clock: Clock = field(default=lambda: 0.0)
    faults_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    figures: dict[str, float | None] = field(default_factory=dict)
    exchanges: Sequence[Exchange] = ()
    refused: int = 0
    retried: int | None = None
    hung_up: int = 0
    crowd: list[Exchange] = field(default_factory=list)
    crowd_s: tuple[float, float] = (0.0, 0.0)
    footprints: list[Footprint] = field(default_factory=list)

    def recovery_counts_from(self, t_s: float | None = None) -> None:
        """The latest fault counts from `t_s`, unless given from now, and not from when it was due."""
        self.faults_s[-1] = self.clock() if t_s is None else t_s

    async def see_replaced(
        self, victim: Replica, *, needs_successor: bool = True, ready_before: int | None = None
    ) -> None:
        """Measure from now, when the fault strikes, how soon the fleet leaves the victim alone and has another.

        `ready_before`: how many were ready until then, where it may have struck already.
        """
        before = len(await self.fleet.replicas("ready")) if ready_before is None else ready_before
        seen = await watch_replacement(
            self.fleet,
            victim,
            before=before,
            limit_s=2 * self.terms.duration_s / 3,
            needs_successor=needs_successor,
        )
        self.figures |= seen.figures
        self.failures += seen.failures

    async def random_replica(self, state: str = "ready") -> Replica:
        """One of those in that state that the fleet started itself, by chance; waits until there is one."""
        while True:
            own = [replica for replica in await self.fleet.replicas(state) if replica.pid is not None]
            if own:
                return own[int(self.rng.integers(len(own)))]
            await asyncio.sleep(_LOOK_S)

    async def add_load(self, load: Sequence[Request] | Turns, behaviour: Behaviour, *, duration_s: float) -> None:
        """Fire a second load beside the first, and wait for its end, from when recovery counts."""
        self.crowd_s = (self.clock(), self.clock() + duration_s)
        async with connect_client(self.fleet.url, behaviour, self.rng) as crowd:
            self.crowd += crowd.exchanges(await fire(load, crowd))
        self.recovery_counts_from(self.crowd_s[1])


def calm_s(duration_s: float) -> float:
    """How long the fleet is left alone before the first fault, and between faults."""
    return min(_CALM_S, duration_s / 3)


def repeated_s(first_s: float, end_s: float) -> list[float]:
    """From `first_s` on every `first_s`, with as much left after the last."""
    count = int(end_s / first_s + 1e-9) - 1
    return [first_s * (1 + i) for i in range(count)]
