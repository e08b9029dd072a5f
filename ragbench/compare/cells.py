"""Two servers on the same loads: the difference of each figure at each load, with an interval.

The requests of all seeds are pooled. Latencies are compared between valid points; throughput also between overloaded
ones, as the most that a server answers; between a valid and an overloaded point nothing is, as their verdicts differ
already. With m cells, each is judged at 1 - 0.05 / m (Bonferroni), so that two equal servers differ anywhere in one
comparison of twenty at most. Which runs are compared is decided in pairs.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ragbench.compare.differences import Both, Difference, estimates, with_starts
from ragbench.compare.pairs import Pair
from ragbench.compare.sides import BINS, COMPARED, LATENCIES, OVERLOADED, Run
from ragbench.statistics.intervals import Floats, Interval, Statistics, means, quantiles

_SEED = 20_240_601  # of the resampling, so that one comparison has one outcome
FEWEST_IN_TAIL = 10  # requests beyond a percentile, of all seeds together, for an interval
TOO_FEW = "too few requests for an interval"
UNANSWERED = "it may fall among the unanswered requests"
ABSENT = float("nan")
ALLOWED: Mapping[str, Sequence[str]] = {"throughput_rps": OVERLOADED, "goodput_rps": ("shedding",)}


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of a pair, at one load. `a`, `b`: of all seeds together. `why_not`: why there is no difference.

    `is_repeat`: equal to the cell before it, as goodput is to throughput where every answer is in time; it is not
    counted again.
    """

    pair: Pair
    metric: str
    a: float = ABSENT
    b: float = ABSENT
    difference: Difference | None = None
    why_not: str = ""
    is_repeat: bool = False

    @property
    def short(self) -> str:
        """The figure in words: p95, throughput."""
        return self.metric.removeprefix("latency_").removesuffix("_s").removesuffix("_rps")

    @property
    def alike(self) -> tuple[str, str, bool, bool]:
        """A key: figures with equal keys vary between starts of the servers for the same reasons."""
        return self.pair.a, self.pair.b, self.metric in LATENCIES, self.pair.verdict(0) == "valid"

    @property
    def interval(self) -> Interval | None:
        """Where the difference lies, in percent of a, wide enough to hold with all others of the comparison at once."""
        return self.difference.interval if self.difference else None

    @property
    def is_shown(self) -> bool:
        """Whether the servers differ: the whole interval lies on one side of no difference."""
        interval = self.interval
        return interval is not None and (interval.low > 0 or interval.high < 0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All cells of one comparison."""

    cells: tuple[Cell, ...]

    @property
    def pairs(self) -> list[Pair]:
        """What is compared, in order."""
        return list({id(cell.pair): cell.pair for cell in self.cells}.values())

    @property
    def compared(self) -> list[Cell]:
        """The cells that have a difference of their own."""
        return [cell for cell in self.cells if cell.difference is not None and not cell.is_repeat]


def compare(pairs: Sequence[Pair]) -> Comparison:
    """Every figure of every pair."""
    streams = np.random.default_rng(_SEED).spawn(len(pairs))
    cells = [cell for pair, rng in zip(pairs, streams, strict=True) for cell in _pooled(pair, rng)]
    count = len(Comparison(tuple(cells)).compared)
    for alike in dict.fromkeys(cell.alike for cell in cells):
        own = {i: cell.difference for i, cell in enumerate(cells) if cell.alike == alike and cell.difference}
        for i, difference in zip(own, with_starts(list(own.values())), strict=True):
            cells[i] = replace(cells[i], difference=replace(difference, cells=count))
    return Comparison(tuple(cells))


def frame(comparison: Comparison) -> pd.DataFrame:
    """One row per cell. `..._percent`: b against a; `low`, `high` hold with all others at once, `_alone` by itself."""
    return pd.DataFrame([_row(cell) for cell in comparison.cells])


def _row(cell: Cell) -> dict[str, object]:
    pair, difference = cell.pair, cell.difference
    alone = replace(difference, cells=1).interval if difference else None
    return {
        "a": pair.a,
        "b": pair.b,
        "arrival": pair.arrival,
        "offered_rps": pair.level.offered_rps or None,
        "concurrency": pair.level.concurrency or None,
        "seeds": len(pair.used),
        "metric": cell.metric,
        "a_value": cell.a,
        "b_value": cell.b,
        "difference_percent": getattr(difference, "percent", None),
        **{f"{end}_percent": getattr(cell.interval, end, None) for end in ("low", "high")},
        **{f"{end}_alone_percent": getattr(alone, end, None) for end in ("low", "high")},
        "is_shown": cell.is_shown,
        "method": getattr(difference, "method", None),
        "not_compared": cell.why_not or None,
        "overloaded": pair.overloaded or None,
        "left_out": pair.left_out or None,
    }


def _pooled(pair: Pair, rng: np.random.Generator) -> list[Cell]:
    """The cells of COMPARED, in that order; their errors do not yet include the starts."""
    cells = {metric: Cell(pair, metric, why_not=_why_not(pair, metric)) for metric in COMPARED}
    wanted = [metric for metric in COMPARED if not cells[metric].why_not]
    runs = [(a.requests(), b.requests()) for a, b in pair.used] if wanted else []
    if latencies := [metric for metric in wanted if metric in LATENCIES]:
        shares = [LATENCIES[metric] for metric in latencies]
        waits = [(a.latencies_s, b.latencies_s) for a, b in runs]
        cells |= _estimated(pair, latencies, waits, lambda values, counts: quantiles(values, counts, shares), rng)
    for metric in wanted:
        if metric == "goodput_rps" and all(np.array_equal(run.good, run.answered) for both in runs for run in both):
            cells[metric] = replace(cells["throughput_rps"], metric=metric, is_repeat=True)
        elif metric not in LATENCIES:
            counts = [(a.good, b.good) if metric == "goodput_rps" else (a.answered, b.answered) for a, b in runs]
            fewest = max(1.0, min(float(side.sum()) for both in counts for side in both))
            cells |= _estimated(pair, [metric], _per_s(pair, counts), means, rng, resolution=1 / fewest)
    return list(cells.values())


def _why_not(pair: Pair, metric: str) -> str:
    """Why the points have no such figure to compare; empty: they have.

    In a growing queue, latency and the share of answers in time depend on how long it was measured. The latency of a
    server that refuses is that of fewer requests than were sent.
    """
    if not pair.used:
        return f"left out: {pair.left_out}"
    verdicts = {pair.verdict(0), pair.verdict(1)}
    return "" if verdicts == {"valid"} or verdicts <= set(ALLOWED.get(metric, ())) else pair.overloaded


def _per_s(pair: Pair, counts: Sequence[Both]) -> list[Both]:
    """Answers a second in each BINS-th of the window; the windows of two seeds differ in length."""
    return [
        (a * BINS / _length_s(run_a), b * BINS / _length_s(run_b))
        for (a, b), (run_a, run_b) in zip(counts, pair.used, strict=True)
    ]


def _length_s(run: Run) -> float:
    return run.window_s[1] - run.window_s[0]


def _estimated(
    pair: Pair,
    metrics: Sequence[str],
    values: Sequence[Both],
    statistics: Statistics,
    rng: np.random.Generator,
    *,
    resolution: float = 0.0,
) -> dict[str, Cell]:
    """Cells of the figures that `statistics` gives; no interval of one is narrower than `resolution`."""
    is_paired = pair.is_paired and all(len(a) == len(b) for a, b in values)
    found = estimates(values, statistics, is_paired=is_paired, rng=rng, resolution=resolution)
    sides = [np.concatenate(side) for side in zip(*values, strict=True)]
    figures = [_measured(side, statistics, len(metrics)) for side in sides]
    cells = {}
    for metric, a, b, difference in zip(metrics, *figures, found or [None] * len(metrics), strict=True):
        tail = min(map(len, sides)) * (1 - LATENCIES.get(metric, 0.0))
        if 0 in (a, b):
            why_not = "a figure is 0"
        elif not found or tail < FEWEST_IN_TAIL:
            why_not = TOO_FEW
        else:
            why_not = "" if difference else UNANSWERED if metric in LATENCIES else TOO_FEW
        cells[metric] = Cell(pair, metric, a, b, None if why_not else difference, why_not)
    return cells


def _measured(values: Floats, statistics: Statistics, count: int) -> list[float]:
    """The figures of all values, each drawn once."""
    found = statistics(values, np.ones((1, len(values)), np.int32))[0] if values.size else [ABSENT] * count
    return [float(each) if np.isfinite(each) else ABSENT for each in found]
