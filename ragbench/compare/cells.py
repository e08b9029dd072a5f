"""Two servers on the same loads: the difference of each figure at each load, with an interval.

The requests of all seeds are pooled. Latencies are compared between valid points; throughput also between overloaded
ones, as the most that a server answers; between a valid and an overloaded point nothing is, as their verdicts differ
already. With m cells, each is judged at 1 - 0.05 / m (Bonferroni), so that two equal servers differ anywhere in one
comparison of twenty at most. Which runs are compared is decided in pairs.py.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from ragbench.compare.differences import Difference, estimate, with_starts
from ragbench.compare.pairs import Pair
from ragbench.compare.sides import COMPARED, LATENCIES, OVERLOADED, Requests
from ragbench.statistics.intervals import Interval, Statistic, mean, once, quantile

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
    cells = [cell for pair, rng in zip(pairs, streams, strict=True) for cell in _cells(pair, rng)]
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


def _cells(pair: Pair, rng: np.random.Generator) -> list[Cell]:
    """The cells of COMPARED, in that order; their errors do not yet include the starts."""
    reasons = {metric: _why_not(pair, metric) for metric in COMPARED}
    runs = [(a.requests(), b.requests()) for a, b in pair.used] if "" in reasons.values() else []
    cells = {
        metric: Cell(pair, metric, why_not=why_not) if why_not else _cell(pair, metric, runs, rng)
        for metric, why_not in reasons.items()
    }
    if not reasons["goodput_rps"] and all(np.array_equal(run.good, run.answered) for both in runs for run in both):
        cells["goodput_rps"] = replace(cells["throughput_rps"], metric="goodput_rps", is_repeat=True)
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


def _cell(pair: Pair, metric: str, runs: Sequence[tuple[Requests, Requests]], rng: np.random.Generator) -> Cell:
    """The figure of all requests together, and its difference. No interval of a rate is narrower than one answer."""
    share = LATENCIES.get(metric)
    statistic: Statistic = mean if share is None else partial(quantile, share=share)
    samples = [(a.values(metric), b.values(metric)) for a, b in runs]
    pooled = [np.concatenate(side) for side in zip(*samples, strict=True)]
    figures = [float(statistic(values, once(values))[0]) if values.size else ABSENT for values in pooled]
    a, b = (figure if math.isfinite(figure) else ABSENT for figure in figures)
    if 0 in (a, b):
        return Cell(pair, metric, a, b, why_not="a figure is 0")
    if min(map(len, pooled)) * (1 - (share or 0.0)) < FEWEST_IN_TAIL:
        return Cell(pair, metric, a, b, why_not=TOO_FEW)
    answers = min(sum(float(run.counts(metric).sum()) for run in side) for side in zip(*runs, strict=True))
    difference = estimate(
        samples,
        statistic,
        is_paired=pair.is_paired and all(len(of_a) == len(of_b) for of_a, of_b in samples),
        rng=rng,
        resolution=1 / answers if share is None else 0.0,
    )
    if difference is None:
        why_not = TOO_FEW if np.isfinite(pooled[0]).all() and np.isfinite(pooled[1]).all() else UNANSWERED
        return Cell(pair, metric, a, b, why_not=why_not)
    return Cell(pair, metric, a, b, difference)
