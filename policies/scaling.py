"""How many replicas there should be. Starts and stops none, and reads no clock."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, inf
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
class Stepwise(ABC):
    """Delays a wish until the cool-down of its direction is over; a fleet outside its limits is corrected at once."""

    limits: Limits
    _up_s: float = field(default=-inf, init=False, repr=False)  # the last step up
    _low_since_s: float = field(default=inf, init=False, repr=False)  # since when fewer are wished for

    @abstractmethod
    def wish(self, fleet: Fleet) -> Target:
        """The target without limits and cool-downs."""

    def target(self, fleet: Fleet, now: float) -> Target:
        """Decide, as the class says."""
        limits, size, wish = self.limits, fleet.size, self.wish(fleet)
        bounded = max(limits.min_replicas, min(limits.max_replicas, wish.replicas))
        self._low_since_s = min(self._low_since_s, now) if bounded < size else inf
        if size > limits.max_replicas:
            return Target(limits.max_replicas, "above max_replicas")
        if size < limits.min_replicas:
            return Target(bounded, "below min_replicas")
        if bounded > size and (size == 0 or now - self._up_s >= limits.up_cooldown_s):
            self._up_s = now
            return Target(bounded, wish.reason)
        if bounded < size and now - self._low_since_s >= limits.down_cooldown_s:
            self._low_since_s = now
            return Target(size - 1, wish.reason)
        return Target(size, "hold")


@dataclass(slots=True)
class OutstandingTarget(Stepwise):
    """One replica for each `outstanding_per_replica` requests, and one more if the queue wait is too long.

    Scaling up may add several at once; scaling down removes one after the load was low for the whole cool-down.
    """

    outstanding_per_replica: float = 16.0
    queue_wait_target_s: float = 0.5

    def __post_init__(self) -> None:
        if self.outstanding_per_replica <= 0:
            raise ValueError(f"outstanding_per_replica must be > 0, got {self.outstanding_per_replica}")

    def wish(self, fleet: Fleet) -> Target:
        """By outstanding requests and queue wait."""
        count = ceil(fleet.outstanding / self.outstanding_per_replica)
        if fleet.queue_wait_p95_s > self.queue_wait_target_s and count <= fleet.size and fleet.starting == 0:
            return Target(fleet.size + 1, "queue wait")
        return Target(count, "outstanding per replica")


@dataclass(slots=True)
class RequestRate(Stepwise):
    """The simple rule on requests per second: one up at `up_rps`, one down at `down_rps` (for the whole fleet)."""

    up_rps: float = 29.0
    down_rps: float = 25.0

    def __post_init__(self) -> None:
        if not 0 < self.down_rps < self.up_rps:
            raise ValueError(f"0 < down_rps < up_rps must hold, got {self.down_rps} and {self.up_rps}")

    def wish(self, fleet: Fleet) -> Target:
        """By requests per second."""
        step = (fleet.arrival_rps >= self.up_rps) - (fleet.arrival_rps <= self.down_rps)
        is_wanted = fleet.outstanding > 0 or fleet.arrival_rps > 0
        return Target(max(fleet.size + step, int(is_wanted)), "requests per second")


POLICIES: dict[str, Callable[..., ScalingPolicy]] = {"outstanding": OutstandingTarget, "request_rate": RequestRate}
