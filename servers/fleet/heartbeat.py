"""Heartbeats: finds replicas that are alive and do not answer."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from servers.fleet.asking.reply import TryFailed
from servers.fleet.balancer import Balancer
from servers.fleet.replica import Replica, Roster
from servers.telemetry import metrics

log = logging.getLogger(__name__)
_LATE = 1.5  # times `every_s`; a later answer means that this process was paused


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`GET /ready` every `every_s` with the same time limit; a replica hangs after `misses` in a row.

    A replica that has just answered a question is not asked. Both count as progress, which gives the tries at it more
    time. Draining replicas are asked too.

    The second miss ejects a replica. When it hangs, its requests go to others; ours is ended and replaced
    (`ReplicaProcesses`), and a registered one is dead until it answers again.
    """

    roster: Roster
    balancer: Balancer
    every_s: float = 1.0
    misses: int = 3
    clock: Callable[[], float] = time.monotonic

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            started_s = asyncio.get_running_loop().time()
            try:
                await self.once()
            except* Exception:
                log.exception("a heartbeat failed; the next one is sent all the same")
            await asyncio.sleep(max(0.0, started_s + self.every_s - asyncio.get_running_loop().time()))

    async def once(self) -> None:
        """Ask all replicas concurrently."""
        async with asyncio.TaskGroup() as beats:
            for replica in self.roster:
                if replica.is_ending:
                    continue
                if replica.state in ("ready", "draining") or (replica.registered and replica.state == "dead"):
                    beats.create_task(self._beat(replica))

    async def _beat(self, replica: Replica) -> None:
        asked_s = self.clock()
        if replica.state != "dead" and asked_s - replica.heard_s < self.every_s:
            self._is_well(replica)
            return
        is_ready = await self.balancer.client.is_ready(replica.url, timeout_s=self.every_s, of=replica)
        if is_ready is None or (not is_ready and self.clock() - asked_s > _LATE * self.every_s):
            return  # this process is out of file descriptors, or was paused
        if replica.state == "dead" and replica.registered and is_ready:
            replica.fault, replica.missed = None, 0
            self.roster.move(replica, "return")
        if replica.state == "dead":
            return
        if is_ready or replica.heard_s > asked_s:
            self._is_well(replica)
            return
        replica.missed += 1
        self.balancer.failed(replica, TryFailed(f"{replica.missed} heartbeats missed", is_silent=True))
        if replica.missed < self.misses:
            return
        log.warning("replica %s hangs: %d heartbeats missed", replica.name, replica.missed)
        metrics.EJECTIONS.labels("hung").inc()
        replica.fault = "hung"
        if not replica.registered:
            replica.stop.set()
        self.roster.move(replica, "end")

    def _is_well(self, replica: Replica) -> None:
        replica.missed = 0
        replica.progressed(self.clock(), try_timeout_s=self.balancer.tries.timeout_s)
