"""Whether a request may join the queue, and when a refused one should come back. Holds no queue."""

from dataclasses import dataclass

_SAFE_SHARE = 0.8  # of a client's time: under overload the queue is as long as it may be, and every second guess is low


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
    """Bounded by count, and by the wait that is predicted: by `max_predicted_wait_s`, and by the client's own time.

    Whoever comes among the next `never_late` is let in whatever is predicted: the prediction may be of a time that is
    over, and only runs can correct it.
    """

    max_queue: int
    max_predicted_wait_s: float | None = None
    never_late: int = 1

    def __post_init__(self) -> None:
        if self.max_queue < 1:
            raise ValueError(f"max_queue must be >= 1, got {self.max_queue}")

    def decide(self, waiting: int, predicted_s: float | None, left_s: float | None = None) -> Admitted | Refused:
        """Decide for one more request behind `waiting` ones.

        `predicted_s`: until it would be answered, None where that is not known; `left_s`: until its client gives up.
        """
        retry_after_s = max(1, round(predicted_s)) if predicted_s is not None else 1
        if waiting >= self.max_queue:
            return Refused("queue full", retry_after_s)
        if predicted_s is None or waiting < self.never_late:
            return Admitted()
        if self.max_predicted_wait_s is not None and predicted_s > self.max_predicted_wait_s:
            return Refused("predicted wait", retry_after_s)
        if left_s is not None and is_late(predicted_s, left_s):
            return Refused("deadline", retry_after_s)
        return Admitted()


def is_late(predicted_s: float, left_s: float) -> bool:
    """Whether an answer that is predicted for then had better not be waited for."""
    return predicted_s > _SAFE_SHARE * left_s


def smoothed(average: float | None, sample: float, *, weight: float = 0.2) -> float:
    """One step of an exponentially weighted mean; the first sample is taken as it is."""
    return sample if average is None else average + weight * (sample - average)
