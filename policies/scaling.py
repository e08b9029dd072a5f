"""How many replicas there should be. Starts and stops none, and reads no clock."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Fleet:
    """The fleet, as a policy sees it. Starting replicas count as capacity.

    `outstanding`: requests at replicas or waiting for the first one; `queue_wait_p95_s` and `arrival_rps`: of the last
    seconds.
    """

    ready: int
    starting: int
    outstanding: int
    queue_wait_p95_s: float
    arrival_rps: float

    @property
    def size(self) -> int:
        """Replicas that are ready or starting."""
        return self.ready + self.starting


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of every decision, and the cool-down of each direction after a change.

    With `min_replicas` 0 an idle fleet is scaled to zero, and up again with the first request.
    """

    min_replicas: int
    max_replicas: int
    up_cooldown_s: float
    down_cooldown_s: float

    def __post_init__(self) -> None:
        if self.min_replicas < 0:
            raise ValueError(f"min_replicas must be >= 0, got {self.min_replicas}")
        if self.max_replicas < max(1, self.min_replicas):
            raise ValueError(
                f"max_replicas must be >= 1 and >= min_replicas ({self.min_replicas}), got {self.max_replicas}"
            )
        if min(self.up_cooldown_s, self.down_cooldown_s) < 0:
            raise ValueError(f"cool-downs must be >= 0, got {self.up_cooldown_s} and {self.down_cooldown_s}")


@dataclass(frozen=True, slots=True)
class Target:
    """How many replicas to have, and why."""

    replicas: int
    reason: str


class ScalingPolicy(Protocol):
    """The contract of everything in `POLICIES`."""

    def target(self, fleet: Fleet, now: float) -> Target:
        """Decide. Called at regular times; the policy remembers its last changes."""


@dataclass(slots=True)
class _Cooldown:
    """Delays a wish until the cool-down of its direction is over; a fleet outside its limits is corrected at once."""

    limits: Limits
    up_since_s: float | None = None
    quiet_since_s: float | None = None

    def apply(self, wish: Target, size: int, now: float) -> Target:
        bounded = max(self.limits.min_replicas, min(self.limits.max_replicas, wish.replicas))
        if bounded >= size:
            self.quiet_since_s = None
        elif self.quiet_since_s is None:
            self.quiet_since_s = now
        if size < self.limits.min_replicas:
            return Target(max(bounded, self.limits.min_replicas), "below min_replicas")
        if size == 0 and bounded > 0:  # no cool-down from zero
            self.up_since_s = now
            return Target(bounded, wish.reason)
        if size > self.limits.max_replicas:
            return Target(self.limits.max_replicas, "above max_replicas")
        if bounded > size and self._rested(self.up_since_s, self.limits.up_cooldown_s, now):
            self.up_since_s = now
            return Target(bounded, wish.reason)
        if bounded < size and self._rested(self.quiet_since_s, self.limits.down_cooldown_s, now):
            self.quiet_since_s = now
            return Target(size - 1, wish.reason)
        return Target(size, "hold")

    @staticmethod
    def _rested(since_s: float | None, cooldown_s: float, now: float) -> bool:
        return since_s is None or now - since_s >= cooldown_s


@dataclass(slots=True)
class OutstandingTarget:
    """One replica for each `outstanding_per_replica` requests, and one more if the queue wait is too long.

    Scaling up may add several at once; scaling down removes one after the load was low for the whole cool-down.
    """

    limits: Limits
    outstanding_per_replica: float = 16.0
    queue_wait_target_s: float = 0.5
    _cooldown: _Cooldown = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.outstanding_per_replica <= 0:
            raise ValueError(f"outstanding_per_replica must be > 0, got {self.outstanding_per_replica}")
        self._cooldown = _Cooldown(self.limits)

    def target(self, fleet: Fleet, now: float) -> Target:
        """Decide by outstanding requests and queue wait."""
        wish = Target(ceil(fleet.outstanding / self.outstanding_per_replica), "outstanding per replica")
        if fleet.queue_wait_p95_s > self.queue_wait_target_s and wish.replicas <= fleet.size and fleet.starting == 0:
            wish = Target(fleet.size + 1, "queue wait")
        return self._cooldown.apply(wish, fleet.size, now)


@dataclass(slots=True)
class RequestRate:
    """The simple rule on requests per second: one up at `up_rps`, one down at `down_rps` (for the whole fleet)."""

    limits: Limits
    up_rps: float = 29.0
    down_rps: float = 25.0
    _cooldown: _Cooldown = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.down_rps < self.up_rps:
            raise ValueError(f"0 < down_rps < up_rps must hold, got {self.down_rps} and {self.up_rps}")
        self._cooldown = _Cooldown(self.limits)

    def target(self, fleet: Fleet, now: float) -> Target:
        """Decide by requests per second."""
        step = (fleet.arrival_rps >= self.up_rps) - (fleet.arrival_rps <= self.down_rps)
        is_wanted = fleet.outstanding > 0 or fleet.arrival_rps > 0
        wish = Target(max(fleet.size + step, int(is_wanted)), "requests per second")
        return self._cooldown.apply(wish, fleet.size, now)


POLICIES: dict[str, Callable[..., ScalingPolicy]] = {"outstanding": OutstandingTarget, "request_rate": RequestRate}
