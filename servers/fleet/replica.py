"""A replica as the fleet and the balancer see it, and the roster of all replicas. Starts none and sends nothing."""

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

_REPORT_S = 1.0  # reports come with answers
_RATE_S = 10.0  # how long its measured rate is valid: a slow replica without requests is tried again after that


@dataclass(slots=True, eq=False)
class Replica:
    """A `batched` server. The fleet neither starts nor stops a registered one.

    `gone`: set when no more answers are to be expected. `missed`: heartbeats missed in a row. `fault`: why the fleet
    should end it; `is_ending`: it does. `has_ended`: a try failed because it ended, and none was answered since.
    `suspects`: lock, held by the one question here with which other replicas ended. `released`: set unless a proxy
    that is not ours (`fleet/haproxy`) may have requests here. `reported_rps`: its rate by its own reports, for those
    who do not see its answers. `report_s`: how long a load that it reported is valid.
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
    has_ended: bool = False
    suspects: asyncio.Lock = field(default_factory=asyncio.Lock)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    reported_rps: float | None = None
    report_s: float = _REPORT_S
    heard_s: float = 0.0  # last answer to a question
    alive_s: float = 0.0  # last progress: an answer, or a heartbeat
    _report: tuple[float, int, float | None] = (0.0, 0, None)  # time, requests of other clients, predicted wait
    _limits: dict[asyncio.Timeout, float] = field(default_factory=dict)  # of tries, with their deadlines

    def __post_init__(self) -> None:
        self.idle.set()
        self.released.set()

    @property
    def name(self) -> str:
        """The address without its scheme."""
        return self.url.removeprefix("http://")

    @property
    def port(self) -> int:
        """The port in the address."""
        return int(self.url.rpartition(":")[2])

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count one request as outstanding during the block."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self) -> int:
        """Count one more request as outstanding, until `end`. -> how many there are."""
        self.outstanding += 1
        self.idle.clear()
        metrics.OUTSTANDING.inc()
        return self.outstanding

    def end(self) -> None:
        """Count a request as answered."""
        self.outstanding -= 1
        metrics.OUTSTANDING.dec()
        if self.outstanding == 0:
            self.idle.set()

    @contextmanager
    def trying(self, limit: asyncio.Timeout, *, deadline_s: float) -> Iterator[None]:
        """During the block, move `limit` when the replica makes progress, and let it pass when the replica is gone."""
        self._limits[limit] = deadline_s
        try:
            yield
        finally:
            del self._limits[limit]

    def progressed(self, now: float, *, try_timeout_s: float) -> None:
        """Give each try here `try_timeout_s` from now, at most until its deadline."""
        self.alive_s = now
        loop_now = asyncio.get_running_loop().time()
        for limit, deadline_s in self._limits.items():
            if not limit.expired():
                limit.reschedule(loop_now + min(deadline_s - now, try_timeout_s))

    def lost(self) -> None:
        """End all tries here: no more answers are to be expected."""
        self.gone.set()
        for limit in tuple(self._limits):
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())

    def answered(self, now: float, latency_s: float, outstanding: int) -> None:
        """Measure the rate by Little's law: `outstanding` requests took `latency_s` each."""
        self.heard_s = self.alive_s = now
        self.has_ended = False
        self.rate_rps = smoothed(self.rate_rps, outstanding / max(latency_s, 1e-6))

    def report(self, now: float, outstanding: int, wait_s: float | None) -> None:
        """Note the load that it reported; requests beyond ours are those of other clients."""
        self._report = now, max(0, outstanding - self.outstanding), wait_s

    def said(self, now: float, outstanding: int, wait_s: float | None) -> None:
        """Note the load that a heartbeat reported: `wait_s` is when it would have answered one request more."""
        self.report(now, outstanding, wait_s)
        if wait_s:
            self.reported_rps = smoothed(self.reported_rps, (outstanding + 1) / wait_s)

    async def finished(self) -> None:
        """Wait until it has no request, of ours or of another proxy."""
        await self.idle.wait()
        await self.released.wait()

    def load(self, now: float) -> Load:
        """The load for a routing policy, without outdated values."""
        reported_s, others, _ = self._report
        others = others if now - reported_s <= self.report_s else 0
        rate_rps = self.rate_rps if now - self.heard_s <= _RATE_S else None
        return Load(self.name, self.outstanding + others, rate_rps, self.health.share(now))

    def predicted_s(self, now: float) -> float | None:
        """Seconds until one more request would be answered, as it reported lately; None if it did not."""
        reported_s, _, wait_s = self._report
        return wait_s if self.outstanding and now - reported_s <= self.report_s else None

    def describe(self) -> dict[str, Any]:
        """Its entry in `GET /replicas`."""
        return {
            "url": self.url,
            "pid": self.pid,
            "state": self.state,
            "outstanding": self.outstanding,
            "ejected": self.health.out_until_s is not None,
        }


class Roster:
    """All replicas, our own and registered ones. `changed` is set, and `version` grows, on every change of a state.

    `report_s`: how long a load that a replica reported is valid.
    """

    def __init__(self, rules: HealthRules | None = None, *, report_s: float = _REPORT_S) -> None:
        self.rules = rules or HealthRules()
        self.report_s = report_s
        self.version = 0
        self._replicas: list[Replica] = []
        self.changed = asyncio.Event()

    def __iter__(self) -> Iterator[Replica]:
        return iter(tuple(self._replicas))

    def add(self, replica: Replica) -> None:
        """Add a replica, and give it the roster's rules."""
        replica.health.rules = self.rules
        replica.report_s = self.report_s
        self._replicas.append(replica)
        self._count()

    def remove(self, replica: Replica) -> None:
        """Remove a replica."""
        self._replicas.remove(replica)
        self._count()

    def move(self, replica: Replica, event: Event) -> None:
        """Change a replica's state. Raises IllegalTransition."""
        replica.state = after(replica.state, event, is_ours=not replica.registered)
        if replica.state == "dead":
            replica.lost()
        elif replica.state == "ready":
            replica.gone.clear()
            replica.has_ended = False
        self._count()

    def find(self, url: str) -> Replica | None:
        """The replica at that address."""
        return next((replica for replica in self._replicas if replica.url == url), None)

    def in_state(self, *states: State) -> list[Replica]:
        """The replicas in one of these states, oldest first."""
        return [replica for replica in self._replicas if replica.state in states]

    def own(self, *states: State) -> list[Replica]:
        """The replicas in one of these states that the fleet itself started."""
        return [replica for replica in self.in_state(*states) if not replica.registered]

    def _count(self) -> None:
        for state in STATES:
            metrics.REPLICAS.labels(state).set(sum(replica.state == state for replica in self._replicas))
        self.version += 1
        self.changed.set()
