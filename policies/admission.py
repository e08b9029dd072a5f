"""Whether a request may join the queue, and when a refused one should come back. Holds no queue."""

from dataclasses import dataclass
from math import ceil

__all__ = ["Admission", "Admitted", "Refused", "smoothed"]


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request may wait."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The request may not wait; the client should come back after `retry_after_s` (whole seconds, as HTTP wants)."""

    reason: str
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class Admission:
    """Bounded by count, and, where `max_predicted_wait_s` is given, by the wait that the measured rate predicts."""

    max_queue: int
    max_predicted_wait_s: float | None = None

    def __post_init__(self) -> None:
        if self.max_queue < 1:
            raise ValueError(f"max_queue must be >= 1, got {self.max_queue}")

    def decide(self, waiting: int, rate_rps: float | None) -> Admitted | Refused:
        """Decide for one more request behind `waiting` ones, served at `rate_rps` (None: not measured yet)."""
        predicted_s = waiting / rate_rps if rate_rps else None
        retry_after_s = max(1, ceil(predicted_s)) if predicted_s is not None else 1
        if waiting >= self.max_queue:
            return Refused("queue full", retry_after_s)
        limit_s = self.max_predicted_wait_s
        if limit_s is not None and predicted_s is not None and predicted_s > limit_s:
            return Refused("predicted wait", retry_after_s)
        return Admitted()


def smoothed(average: float | None, sample: float, *, weight: float = 0.2) -> float:
    """One step of an exponentially weighted mean; the first sample is taken as it is."""
    return sample if average is None else average + weight * (sample - average)
