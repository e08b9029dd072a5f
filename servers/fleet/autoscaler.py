"""Every half second: look at the fleet, ask the scaling policy, resize, and keep what was decided and why."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from policies import scaling
from servers.fleet import FleetBackend
from servers.telemetry import metrics

__all__ = ["Autoscaler", "Decided"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision: what the policy saw, how many replicas it wanted, and why."""

    number: int
    at_s: float
    seen: scaling.Fleet
    target: scaling.Target


class Autoscaler:
    """The shell round a scaling policy. A request that waits for a first replica is looked at without delay."""

    def __init__(
        self,
        fleet: FleetBackend,
        policy: scaling.ScalingPolicy,
        *,
        every_s: float,
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._policy = policy
        self._every_s = every_s
        self._name = name
        self._clock = clock
        self._decided: deque[Decided] = deque(maxlen=4096)
        self._number = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._every_s):
                    await self._fleet.wanted.wait()
            except TimeoutError:
                pass
            self._fleet.wanted.clear()
            try:
                self.decide(self._clock())
            except Exception:
                log.exception("a scaling decision failed; the next one is tried all the same")

    def decide(self, now: float) -> None:
        """Look, ask, resize."""
        seen = self._fleet.snapshot(now).seen
        target = self._policy.target(seen, now)
        self._decided.append(Decided(self._number, now, seen, target))
        self._number += 1
        if not self._fleet.resize(target.replicas):
            return
        log.info(
            "scaling from %d to %d: %s", seen.size, target.replicas, target.reason, extra={**asdict(seen), "now_s": now}
        )
        metrics.SCALINGS.labels("up" if target.replicas > seen.size else "down").inc()

    def describe(self) -> dict[str, Any]:
        """As `GET /scaling` tells it: the newest decisions, those that hold among them, and when replicas got ready.

        `window_s`: how far back the rate and the queue wait that a decision saw reach.
        """
        now = self._clock()
        snapshot = self._fleet.snapshot(now)
        decisions = [
            {
                "number": one.number,
                "age_s": now - one.at_s,
                **asdict(one.seen),
                "target": one.target.replicas,
                "reason": one.target.reason,
            }
            for one in self._decided
        ]
        starts = [{"age_s": now - ready_s, "start_s": start_s} for ready_s, start_s in snapshot.starts]
        return {"policy": self._name, "window_s": snapshot.window_s, "decisions": decisions, "starts": starts}
