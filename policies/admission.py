"""Whether a request may join the queue, and when a refused client should retry. Holds no queue."""

from dataclasses import dataclass

_SAFE_SHARE = 0.8  # of a client's time, since half of all predictions are too low


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is refused; the client should retry after `retry_after_s` (whole seconds, as in HTTP)."""

    reason: str
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class Admission:
    """Limits the queue's length, and the predicted wait by `max_predicted_wait_s` and by the client's own time limit.

    The first `never_late` in the queue are admitted whatever the prediction: it may be outdated, and only runs correct
    it.
    """

    max_queue: int
    max_predicted_wait_s: float | None = None
    never_late: int = 1

    def __post_init__(self) -> None:
        if self.max_queue < 1:
            raise ValueError(f"max_queue must be >= 1, got {self.max_queue}")

    def is_open(self, waiting: int) -> bool:
        """Whether one more request behind `waiting` ones is admitted whatever is predicted."""
        return waiting < min(self.max_queue, self.never_late)

    def decide(self, waiting: int, predicted_s: float | None, left_s: float | None = None) -> Refused | None:
        """Decide for one more request behind `waiting` ones; None: it may wait.

        `predicted_s`: until its answer, None if not known; `left_s`: until its client gives up.
        """
        retry_after_s = max(1, round(predicted_s)) if predicted_s is not None else 1
        if waiting >= self.max_queue:
            return Refused("queue full", retry_after_s)
        if predicted_s is None or waiting < self.never_late:
            return None
        if self.max_predicted_wait_s is not None and predicted_s > self.max_predicted_wait_s:
            return Refused("predicted wait", retry_after_s)
        if left_s is not None and is_late(predicted_s, left_s):
            return Refused("deadline", retry_after_s)
        return None


def is_late(predicted_s: float, left_s: float) -> bool:
    """Whether an answer in `predicted_s` is probably too late."""
    return predicted_s > _SAFE_SHARE * left_s


def smoothed(average: float | None, sample: float, *, weight: float = 0.2) -> float:
    """One step of an exponentially weighted mean, which starts at the first sample."""
    return sample if average is None else average + weight * (sample - average)
