"""The rows of a point as arrays, and its steady window. Computes no figure."""

from collections import Counter
from collections.abc import Iterable
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
        """Seconds from start to end."""
        return self.end_s - self.start_s

    def holds(self, times: Floats) -> Truths:
        """Which of `times` lie in it, both ends included; an absent time (NaN) does not."""
        return (times >= self.start_s) & (times <= self.end_s)


class Columns:
    """Rows in due order, an array (n,) per column; NaN where absent. `statuses` counts the rows by status."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = sorted(rows, key=lambda row: row.due_s)
        self.statuses = Counter(row.status for row in self.rows)
        self.due_s, self.sent_s, self.done_s = map(self.column, ("due_s", "sent_s", "done_s"))
        self.latency_s, self.send_lag_s = self.column("latency_s"), self.column("send_lag_s")
        self.is_ok, self.is_timeout = self._has("ok"), self._has("timeout")

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Floats:
        """Any numeric column of requests.csv."""
        return np.array([getattr(row, name) for row in self.rows], dtype=np.float64)

    def _has(self, status: str) -> Truths:
        return np.array([row.status == status for row in self.rows], dtype=np.bool_)

    def latencies_of(self, which: Truths) -> Floats:
        """Seconds from due of the requests `which`, infinite for one without an ok answer."""
        return np.where(self.is_ok, self.latency_s, np.inf)[which]

    @property
    def starts_s(self) -> Floats:
        """When requests were sent, of those that were."""
        return self.sent_s[~np.isnan(self.sent_s)]

    @property
    def ends_s(self) -> Floats:
        """When requests ended, of those that were sent and ended."""
        return self.done_s[~np.isnan(self.done_s) & ~np.isnan(self.sent_s)]


def steady_window(due_s: Floats, *, duration_s: float) -> Window:
    """From 10% of the schedule's duration after the first due time to the last due time.

    It leaves out the start, while queues and caches fill, and the drain after the last arrival. Where nothing was due
    after the start (a request or two), it is the whole duration.
    """
    first, last = (float(due_s[0]), float(due_s[-1])) if len(due_s) else (0.0, 0.0)
    start = first + WARM_UP_SHARE * duration_s
    return Window(start, last) if last > start else Window(first, first + duration_s)
