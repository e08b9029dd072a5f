"""The rows of a point as arrays, and the window of it that is steady. Computes no figure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragbench.results.records import Row

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

WARM_UP_SHARE = 0.1  # of the schedule's duration, left out at its start


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a point, seconds on the schedule's clock."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s

    def holds(self, times: Floats) -> Truths:
        """Which of `times` lie in it, both ends included; an absent time (NaN) does not."""
        return (times >= self.start_s) & (times <= self.end_s)


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows in due order, an array a column; NaN where absent. `statuses` counts them by status."""

    rows: Sequence[Row]
    due_s: Floats
    sent_s: Floats
    done_s: Floats
    latency_s: Floats
    send_lag_s: Floats
    is_ok: Truths
    is_slow: Truths  # timed out
    statuses: Counter[str]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Columns":
        """In due order, whatever order they come in."""
        ordered = sorted(rows, key=lambda row: row.due_s)
        statuses = [row.status for row in ordered]
        return cls(
            rows=ordered,
            due_s=_floats(ordered, "due_s"),
            sent_s=_floats(ordered, "sent_s"),
            done_s=_floats(ordered, "done_s"),
            latency_s=_floats(ordered, "latency_s"),
            send_lag_s=_floats(ordered, "send_lag_s"),
            is_ok=np.array([status == "ok" for status in statuses], dtype=np.bool_),
            is_slow=np.array([status == "timeout" for status in statuses], dtype=np.bool_),
            statuses=Counter(statuses),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Floats:
        """Any numeric column of requests.csv."""
        return _floats(self.rows, name)

    @property
    def from_sent_s(self) -> Floats:
        """Latency counted from when each request was sent."""
        return self.done_s - self.sent_s

    @property
    def ends_s(self) -> Floats:
        """When the requests ended that were sent and did end."""
        return self.done_s[~np.isnan(self.done_s) & ~np.isnan(self.sent_s)]

    @property
    def starts_s(self) -> Floats:
        """When the requests were sent that were sent."""
        return self.sent_s[~np.isnan(self.sent_s)]


def steady_window(due_s: Floats, *, duration_s: float) -> Window:
    """From 10% of the schedule's duration after the first due time to the last due time.

    What is left out: the start, while queues and caches fill, and the drain after the last arrival, when no new load
    comes. Where nothing was due after the start (a request or two), it is the whole duration.
    """
    first, last = (float(due_s[0]), float(due_s[-1])) if len(due_s) else (0.0, 0.0)
    start = first + WARM_UP_SHARE * duration_s
    return Window(start, last) if last > start else Window(first, first + duration_s)


def _floats(rows: Sequence[Row], name: str) -> Floats:
    return np.array([getattr(row, name) for row in rows], dtype=np.float64)
