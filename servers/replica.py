"""One replica as the fleet and the balancer see it, and the roster of all of them. Starts and asks nothing."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from policies.admission import smoothed
from policies.routing import Load
from servers import metrics

__all__ = ["Replica", "ReplicaState", "Roster"]

ReplicaState = Literal["starting", "ready", "draining", "dead"]


@dataclass(slots=True, eq=False)
class Replica:
    """A `batched` server. A registered one was started by somebody else, who will also stop it."""

    url: str
    registered: bool = False
    pid: int | None = None
    state: ReplicaState = "starting"
    outstanding: int = 0
    rate_rps: float | None = None
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

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
        try:
            yield
        finally:
            self.outstanding -= 1
            if self.outstanding == 0:
                self.idle.set()

    def answered(self, latency_s: float, outstanding: int) -> None:
        """Learn the rate from one answer by Little's law: `outstanding` requests were here for `latency_s` each."""
        self.rate_rps = smoothed(self.rate_rps, outstanding / max(latency_s, 1e-6))

    @property
    def load(self) -> Load:
        """What a routing policy may know."""
        return Load(self.name, self.outstanding, self.rate_rps)

    def describe(self) -> dict[str, Any]:
        """As `GET /replicas` tells it."""
        return {"url": self.url, "pid": self.pid, "state": self.state, "outstanding": self.outstanding}


class Roster:
    """All replicas, our own and registered ones; `changed` is set whenever one changes its state."""

    def __init__(self) -> None:
        self._replicas: list[Replica] = []
        self.changed = asyncio.Event()

    def __iter__(self) -> Iterator[Replica]:
        return iter(tuple(self._replicas))

    def add(self, replica: Replica) -> None:
        """Put a replica on the list."""
        self._replicas.append(replica)
        self._count()

    def remove(self, replica: Replica) -> None:
        """Take it off the list."""
        self._replicas.remove(replica)
        self._count()

    def move(self, replica: Replica, state: ReplicaState) -> None:
        """Change a replica's state."""
        replica.state = state
        self._count()

    def find(self, url: str) -> Replica | None:
        """The replica at that address."""
        return next((replica for replica in self._replicas if replica.url == url), None)

    def in_state(self, *states: ReplicaState) -> list[Replica]:
        """The replicas in one of these states, oldest first."""
        return [replica for replica in self._replicas if replica.state in states]

    def own(self, *states: ReplicaState) -> list[Replica]:
        """Those of them that the fleet itself started."""
        return [replica for replica in self.in_state(*states) if not replica.registered]

    def _count(self) -> None:
        for state in ("starting", "ready", "draining", "dead"):
            metrics.REPLICAS.labels(state).set(sum(replica.state == state for replica in self._replicas))
        self.changed.set()
