"""Asks the scaling policy at regular times, resizes the fleet, and keeps the decisions with their reasons."""

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

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: what the policy saw, the number of replicas it wanted, and why."""

    number: int
    at_s: float
    seen: scaling.Fleet
    target: scaling.Target


class Autoscaler:
    """Runs a scaling policy every `every_s`, and at once when a request waits for a first replica."""

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
        self._decisions: deque[Decision] = deque(maxlen=4096)
        self._number = 0

    async def run(self) -> None:
        """Run until cancelled."""
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
                log.exception("a scaling decision failed; the next one is made all the same")

    def decide(self, now: float) -> None:
        """Make one decision and resize the fleet."""
        seen = self._fleet.snapshot(now).seen
        target = self._policy.target(seen, now)
        self._decisions.append(Decision(self._number, now, seen, target))
        self._number += 1
        if not self._fleet.resize(target.replicas):
            return
        log.info(
            "scaling from %d to %d: %s", seen.size, target.replicas, target.reason, extra={**asdict(seen), "now_s": now}
        )
        metrics.SCALINGS.labels("up" if target.replicas > seen.size else "down").inc()

    def describe(self) -> dict[str, Any]:
        """The body of `GET /scaling`: the newest decisions, and when replicas got ready.

        `window_s`: period over which the rate and the queue wait of a decision were measured.
        """
        now = self._clock()
        snapshot = self._fleet.snapshot(now)
        decisions = [
            {
                "number": decision.number,
                "age_s": now - decision.at_s,
                **asdict(decision.seen),
                "target": decision.target.replicas,
                "reason": decision.target.reason,
            }
            for decision in self._decisions
        ]
        starts = [{"age_s": now - ready_s, "start_s": start_s} for ready_s, start_s in snapshot.starts]
        return {"policy": self._name, "window_s": snapshot.window_s, "decisions": decisions, "starts": starts}
