"""A balancer and an autoscaler over servers in virtual time: what `servers/scaled.py` does, without processes."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import InitVar, dataclass, field
from math import ceil
from random import Random

from policies.admission import smoothed
from policies.lifecycle import Event, State, after
from policies.routing import Load, RoutingPolicy
from policies.scaling import Fleet as Snapshot
from policies.scaling import ScalingPolicy
from ragbench.results.records import ReplicaCount
from ragbench.simulator.machine import Heap
from ragbench.simulator.servers import Server, Visit

_WINDOW_S = 5.0  # of traffic, that the autoscaler sees


@dataclass(slots=True)
class Replica:
    """One server and what the balancer knows of it."""

    name: str
    server: Server
    state: State = "starting"
    outstanding: int = 0
    rate_rps: float | None = None


class Loads(Sequence[Load]):
    """The loads of replicas, each made when it is asked for: a policy that looks at two of a thousand pays for two."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._replicas = replicas

    def __len__(self) -> int:
        return len(self._replicas)

    def __getitem__(self, index: int) -> Load:  # type: ignore[override]  # policies never slice
        replica = self._replicas[index]
        return Load(replica.name, replica.outstanding, replica.rate_rps)


@dataclass(slots=True, eq=False, kw_only=True)
class Fleet:
    """Routes, retries on another replica when one dies, and resizes; counts replicas over time."""

    heap: Heap
    make_server: Callable[[], Server]
    route: RoutingPolicy
    scaling: ScalingPolicy
    replicas: InitVar[int]  # at the start
    interval_s: float
    cold_start_s: float
    rng: Random
    counts: list[ReplicaCount] = field(default_factory=list)
    _turn: int = 0
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _replicas: list[Replica] = field(default_factory=list)
    _ready: list[Replica] = field(default_factory=list)
    _arrivals: deque[tuple[float, float]] = field(default_factory=deque)
    _waits: deque[tuple[float, float]] = field(default_factory=deque)

    def __post_init__(self, replicas: int) -> None:
        for _ in range(replicas):
            self._serve(self._begin())
        self.heap.at(0.0, self._tick)

    def submit(self, visit: Visit) -> None:
        """Send a request to a replica; to another one if that dies with it."""
        self._arrivals.append((self.heap.now, 0.0))
        self._forward(visit, visit.over, tried=())

    def kill(self, count: int) -> None:
        """Let the oldest `count` ready replicas die, with what they hold."""
        for replica in self._ready[:count]:
            self._leave(replica, "end")
            replica.server.die()

    def _forward(self, visit: Visit, over: Callable[[Visit, str], None], tried: tuple[Replica, ...]) -> None:
        left = [replica for replica in self._ready if replica not in tried] if tried else self._ready
        if not left:
            over(visit, "rejected")
            return
        replica = left[self.route(Loads(left), self._turn, self.rng)]
        self._turn += 1
        replica.outstanding += 1
        outstanding, sent_s = replica.outstanding, self.heap.now

        def ended(visit: Visit, status: str) -> None:
            replica.outstanding -= 1
            if status == "connection_error":
                self._forward(visit, over, (*tried, replica))
                return
            if status == "ok":
                now = self.heap.now
                replica.rate_rps = smoothed(replica.rate_rps, outstanding / max(now - sent_s, 1e-6))
                self._waits.append((now, visit.reported["queue_s"]))
                visit.reported["replica"] = replica.name
            over(visit, status)

        visit.over = ended
        replica.server.submit(visit)

    def _tick(self) -> None:
        """Every interval: look, ask the policy, resize; as `Scaled._decide`."""
        now = self.heap.now
        starting = [replica for replica in self._replicas if replica.state == "starting"]
        draining = [replica for replica in self._replicas if replica.state == "draining"]
        for gone in [replica for replica in draining if replica.outstanding == 0]:
            self._replicas.remove(gone)
        self.counts.append(ReplicaCount(now, len(self._ready), len(starting), len(draining)))
        waits_s = sorted(self._recent(self._waits))
        snapshot = Snapshot(
            ready=len(self._ready),
            starting=len(starting),
            outstanding=sum(replica.outstanding for replica in self._ready),
            queue_wait_p95_s=waits_s[ceil(0.95 * len(waits_s)) - 1] if waits_s else 0.0,
            arrival_rps=len(self._recent(self._arrivals)) / _WINDOW_S,
        )
        self._resize(self.scaling.target(snapshot, now).replicas)
        self.heap.at(now + self.interval_s, self._tick)

    def _resize(self, count: int) -> None:
        alive = [replica for replica in self._replicas if replica.state in ("starting", "ready")]
        for _ in range(count - len(alive)):
            self.heap.at(self.heap.now + self.cold_start_s, self._serve, self._begin())
        newest = [replica for replica in alive if replica.state == "starting"][::-1]
        newest += [replica for replica in alive if replica.state == "ready"][::-1]
        for replica in newest[: max(0, len(alive) - count)]:
            self._leave(replica, "drain")

    def _begin(self) -> Replica:
        replica = Replica(str(next(self._numbers)), self.make_server())
        self._replicas.append(replica)
        return replica

    def _serve(self, replica: Replica) -> None:
        if replica.state == "starting":
            replica.state = after(replica.state, "get_ready")
            self._ready.append(replica)

    def _leave(self, replica: Replica, event: Event) -> None:
        replica.state = after(replica.state, event)
        self._ready = [other for other in self._ready if other is not replica]

    def _recent(self, noted: deque[tuple[float, float]]) -> list[float]:
        """What was noted in the last seconds; older notes are dropped."""
        while noted and noted[0][0] < self.heap.now - _WINDOW_S:
            noted.popleft()
        return [value for _, value in noted]
