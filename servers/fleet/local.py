"""A fleet of processes on this machine: processes, balancer, heartbeat and metrics, and HAProxy where there is one."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from policies import scaling
from policies.health import HealthRules
from policies.routing import RoutingPolicy
from servers.fleet import Snapshot
from servers.fleet.asking.client import NO_KEYS, Keys
from servers.fleet.balancer import Balancer, Tries
from servers.fleet.haproxy.keeper import Front, Keeper
from servers.fleet.heartbeat import Heartbeat
from servers.fleet.metrics import ReplicaMetrics
from servers.fleet.processes import ReplicaProcesses, Start
from servers.fleet.replica import Roster
from servers.http.exchange import Reply
from servers.tasks import Background

_BEATS = 2.5  # a load that a heartbeat reported is valid until the one after the next


class LocalFleet:
    """Registered replicas get requests, but do not count for `resize`.

    With a `front` an HAProxy sends requests to the replicas, beside those that come to our balancer.
    """

    def __init__(  # noqa: PLR0913  a part or a rule each
        self,
        start: Start,
        route: RoutingPolicy,
        *,
        rules: HealthRules,
        tries: Tries,
        heartbeat_s: float,
        keys: Keys = NO_KEYS,
        front: Front | None = None,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.roster = Roster(rules, report_s=_BEATS * heartbeat_s) if front is not None else Roster(rules)
        self.balancer = Balancer(self.roster, route, tries=tries, keys=keys, seed=seed, clock=clock)
        self.wanted = self.balancer.wanted
        self._processes = ReplicaProcesses(self.roster, start, clock=clock)
        self._metrics = ReplicaMetrics(self.roster, self.balancer.client)
        self._heartbeat = Heartbeat(self.roster, self.balancer, heartbeat_s, clock=clock)
        self._keeper = None if front is None else Keeper(front, self.roster, self.balancer.traffic, clock=clock)
        self._watching: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self, count: int, background: Background) -> None:
        """Start the processes and the heartbeat. With a front, it has the replicas when this returns."""
        await self.balancer.client.open()
        if self._keeper is not None:
            await self._keeper.begin()
        self._processes.open(background)
        await self._processes.start(count)
        self._watching = background.keep(self._heartbeat.run(), name="heartbeat")
        if self._keeper is not None:
            await self._keeper.begin()
            self._keeping = background.keep(self._keeper.run(), name="haproxy")

    def resize(self, count: int) -> bool:
        """Resize our own processes."""
        return self._processes.resize(count)

    def snapshot(self, now: float) -> Snapshot:
        """`outstanding` covers requests that wait for a first replica and those at our own, of all clients.

        The queue waits are those of requests that came to our balancer.
        """
        ready, starting = self.roster.own("ready"), self.roster.own("starting")
        traffic = self.balancer.traffic
        waiting = self.balancer.waiting + (0 if self._keeper is None else self._keeper.waiting)
        seen = scaling.Fleet(
            ready=len(ready),
            starting=len(starting),
            outstanding=waiting + sum(replica.load(now).outstanding for replica in ready),
            queue_wait_p95_s=traffic.queue_wait_p95_s(now),
            arrival_rps=traffic.arrival_rps(now),
        )
        return Snapshot(seen, traffic.window_s, tuple(self._processes.starts))

    async def forward(self, path: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float) -> Reply:
        """Forward by the balancer."""
        return await self.balancer.forward(path, body, headers, deadline_s=deadline_s)

    async def about(self) -> dict[str, Any]:
        """`GET /info` of one ready replica; empty if none is ready."""
        for replica in self.roster.own("ready")[:1]:
            return await self.balancer.client.info(replica.url)
        return {}

    async def exposition(self, own: str) -> str:
        """This process's metrics combined with those of the replicas."""
        return await self._metrics.added_to(own)

    async def stop(self) -> None:
        """Stop the heartbeat, then the processes, which HAProxy drains, then the connections to them."""
        if self._watching is not None:
            self._watching.cancel()
        await self._processes.stop()
        if self._keeping is not None and self._keeper is not None:
            self._keeping.cancel()
            await self._keeper.end()
        await self.balancer.client.close()
