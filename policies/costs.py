"""What a batch costs: a fixed time, and a time for each of its requests. Reads no clock and predicts no wait.

The line through the newest batches is fitted when it is asked for. Batches far from it are left out, and when the
newest ones are all slower or all faster than the others, the others are forgotten.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import fmean, median

_WINDOW = 64
_NEWEST = 8  # so many alone are a fit, when the others are outdated
_DRIFT = 0.25
_FAR = 4.0  # median distances from the line, beyond _NEAR
_NEAR = 0.05  # of a batch's own duration

Run = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A batch of n takes `fixed_s` + `each_s` n."""

    fixed_s: float
    each_s: float

    def run_s(self, size: float) -> float:
        """How long a batch of `size` takes."""
        return self.fixed_s + self.each_s * size


@dataclass(slots=True)
class Costs:
    """The newest 64 batches, and the line through them."""

    _runs: deque[Run] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    _line: Line | None = None

    def ran(self, size: int, run_s: float) -> None:
        """Note a batch; one whose duration is not above zero and finite is ignored."""
        if size >= 1 and 0 < run_s < inf:
            self._runs.append((size, run_s))
            self._line = None

    def line(self) -> Line | None:
        """The line; None before the first batch. As long as all batches are of one size, all of it counts as fixed."""
        if self._line is None and self._runs:
            self._forget_the_outdated()
            self._line = _fitted(self._runs)
        return self._line

    def _forget_the_outdated(self) -> None:
        older, newest = list(self._runs)[:-_NEWEST], list(self._runs)[-_NEWEST:]
        if len(older) < _NEWEST:
            return
        line = _fitted(older)
        is_slower = all(run_s > (1 + _DRIFT) * line.run_s(size) for size, run_s in newest)
        is_faster = all((1 + _DRIFT) * run_s < line.run_s(size) for size, run_s in newest)
        if is_slower or is_faster:
            self._runs = deque(newest, maxlen=_WINDOW)


def _fitted(runs: Sequence[Run]) -> Line:
    """By least squares, and again without the runs that are far from the line."""
    line = _least_squares(runs)
    for _ in range(2):
        distances_s = [abs(run_s - line.run_s(size)) for size, run_s in runs]
        usual_s = median(distances_s)
        line = _least_squares(
            [run for run, off_s in zip(runs, distances_s, strict=True) if off_s <= _FAR * usual_s + _NEAR * run[1]]
        )
    return line


def _least_squares(runs: Sequence[Run]) -> Line:
    """Neither time is below 0."""
    size, run_s = fmean(run[0] for run in runs), fmean(run[1] for run in runs)
    spread = sum((run[0] - size) ** 2 for run in runs)
    if not spread:
        return Line(run_s, 0.0)
    each_s = max(0.0, sum((run[0] - size) * run[1] for run in runs) / spread)
    if each_s * size > run_s:
        return Line(0.0, sum(run[0] * run[1] for run in runs) / sum(run[0] ** 2 for run in runs))
    return Line(run_s - each_s * size, each_s)
