"""Asks the scaling policy at regular times, resizes the fleet, and keeps the decisions with their reasons."""

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from policies import scaling
from servers.fleet import FleetBackend
from servers.tasks import within
from servers.telemetry import metrics

log = logging.getLogger(__name__)


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
        self._numbers = itertools.count()
        self._decisions: deque[tuple[float, dict[str, Any]]] = deque(maxlen=4096)  # with their times

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await within(self._fleet.wanted.wait(), self._every_s)
            self._fleet.wanted.clear()
            try:
                self.decide(self._clock())
            except Exception:
                log.exception("a scaling decision failed; the next one is made all the same")

    def decide(self, now: float) -> None:
        """Make one decision and resize the fleet."""
        seen = self._fleet.snapshot(now).seen
        target = self._policy.target(seen, now)
        made = {**asdict(seen), "target": target.replicas, "reason": target.reason}
        self._decisions.append((now, {"number": next(self._numbers), **made}))
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
        decisions = [{**decision, "age_s": now - at_s} for at_s, decision in self._decisions]
        starts = [{"age_s": now - ready_s, "start_s": start_s} for ready_s, start_s in snapshot.starts]
        return {"policy": self._name, "window_s": snapshot.window_s, "decisions": decisions, "starts": starts}
