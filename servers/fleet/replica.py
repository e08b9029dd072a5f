"""One replica as the fleet and the balancer see it, and the roster of all of them. Starts and asks nothing."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from policies.admission import smoothed
from policies.health import Health, HealthRules
from policies.lifecycle import STATES, Event, State, after
from policies.routing import Load
from servers.telemetry import metrics

__all__ = ["Replica", "Roster"]

_TOLD_S = 1.0  # how long what a replica said of its load is believed
_MEASURED_S = 10.0  # how long its measured rate is: a slow one that gets no requests is tried again after that


@dataclass(slots=True, eq=False)
class Replica:
    """A `batched` server. A registered one was started by somebody else, who will also stop it.

    `gone` is set when no answer is to be expected from it any more. `missed` counts the heartbeats in a row that it did
    not answer, and `fault` is why the fleet should end it; `is_ending` is set when it does. `suspects` is held by a
    question that other replicas have ended with, for as long as it is here.
    """

    url: str
    registered: bool = False
    pid: int | None = None
    gpu: str | None = None
    state: State = "starting"
    outstanding: int = 0
    rate_rps: float | None = None
    health: Health = field(default_factory=Health)
    missed: int = 0
    fault: str | None = None
    is_ending: bool = False
    suspects: asyncio.Lock = field(default_factory=asyncio.Lock)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    heard_s: float = 0.0  # when it last answered a question
    alive_s: float = 0.0  # when it last showed progress: by an answer, or by saying that it is ready
    _told: tuple[float, int, float | None] = (0.0, 0, None)
    _limits: dict[asyncio.Timeout, float] = field(default_factory=dict)  # of tries, with their deadlines

    def __post_init__(self) -> None:
        self.idle.set()

    @property
    def name(self) -> str:
        """The address without its scheme."""
        return self.url.removeprefix("http://")

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count one request as outstanding for as long as the block runs."""
        self.outstanding += 1
        self.idle.clear()
        metrics.OUTSTANDING.inc()
        try:
            yield
        finally:
            self.outstanding -= 1
            metrics.OUTSTANDING.dec()
            if self.outstanding == 0:
                self.idle.set()

    @contextmanager
    def trying(self, limit: asyncio.Timeout, *, deadline_s: float) -> Iterator[None]:
        """Let `limit` pass at once should the replica be gone before the block ends, and later if it makes progress."""
        self._limits[limit] = deadline_s
        try:
            yield
        finally:
            del self._limits[limit]

    def progressed(self, now: float, *, try_timeout_s: float) -> None:
        """It goes on with what it has: tries may take `try_timeout_s` from now, each until its deadline at most."""
        self.alive_s = now
        loop_now = asyncio.get_running_loop().time()
        for limit, deadline_s in self._limits.items():
            if not limit.expired():
                limit.reschedule(loop_now + min(deadline_s - now, try_timeout_s))

    def lost(self) -> None:
        """No answer is to be expected any more: whoever waits for one asks another replica."""
        self.gone.set()
        for limit in tuple(self._limits):  # one that passes at this very moment cannot be moved, and need not be
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())

    def answered(self, now: float, latency_s: float, outstanding: int) -> None:
        """Learn the rate from one answer by Little's law: `outstanding` requests were here for `latency_s` each."""
        self.heard_s = self.alive_s = now
        self.rate_rps = smoothed(self.rate_rps, outstanding / max(latency_s, 1e-6))

    def told(self, now: float, outstanding: int, wait_s: float | None) -> None:
        """It said how many requests it had, of which those beyond ours were sent by others, and its predicted wait."""
        self._told = now, max(0, outstanding - self.outstanding), wait_s

    def load(self, now: float) -> Load:
        """What a routing policy may know. What was measured or told long ago is not known any more."""
        told_s, elsewhere, _ = self._told
        others = elsewhere if now - told_s <= _TOLD_S else 0
        rate_rps = self.rate_rps if now - self.heard_s <= _MEASURED_S else None
        return Load(self.name, self.outstanding + others, rate_rps, self.health.share(now))

    def predicted_s(self, now: float) -> float | None:
        """Until one more would be answered, as it said itself a moment ago; None where it did not."""
        told_s, _, wait_s = self._told
        return wait_s if self.outstanding and now - told_s <= _TOLD_S else None

    def describe(self) -> dict[str, Any]:
        """As `GET /replicas` tells it."""
        return {
            "url": self.url,
            "pid": self.pid,
            "state": self.state,
            "outstanding": self.outstanding,
            "ejected": self.health.out_until_s is not None,
        }


class Roster:
    """All replicas, our own and registered ones; `changed` is set whenever one changes its state."""

    def __init__(self, rules: HealthRules | None = None) -> None:
        self.rules = rules or HealthRules()
        self._replicas: list[Replica] = []
        self.changed = asyncio.Event()

    def __iter__(self) -> Iterator[Replica]:
        return iter(tuple(self._replicas))

    def add(self, replica: Replica) -> None:
        """Put a replica on the list, and under the roster's rules of health."""
        replica.health.rules = self.rules
        self._replicas.append(replica)
        self._count()

    def remove(self, replica: Replica) -> None:
        """Take it off the list."""
        self._replicas.remove(replica)
        self._count()

    def move(self, replica: Replica, event: Event) -> None:
        """Change a replica's state. Raises IllegalTransition."""
        replica.state = after(replica.state, event, is_ours=not replica.registered)
        if replica.state == "dead":
            replica.lost()
        elif replica.state == "ready":
            replica.gone.clear()
        self._count()

    def find(self, url: str) -> Replica | None:
        """The replica at that address."""
        return next((replica for replica in self._replicas if replica.url == url), None)

    def in_state(self, *states: State) -> list[Replica]:
        """The replicas in one of these states, oldest first."""
        return [replica for replica in self._replicas if replica.state in states]

    def own(self, *states: State) -> list[Replica]:
        """Those of them that the fleet itself started."""
        return [replica for replica in self.in_state(*states) if not replica.registered]

    def _count(self) -> None:
        for state in STATES:
            metrics.REPLICAS.labels(state).set(sum(replica.state == state for replica in self._replicas))
        self.changed.set()
