"""Two servers on the same loads: the difference of each figure at each load, with an interval.

The requests of all seeds are pooled. Latencies are compared between valid points; throughput also between overloaded
ones, as the most that a server answers; between a valid and an overloaded point nothing is, as their verdicts differ
already. With m cells, each is judged at 1 - 0.05 / m (Bonferroni), so that two equal servers differ anywhere in one
comparison of twenty at most. Which runs are compared is decided in pairs.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ragbench.compare.differences import ALPHA, Difference, estimates, with_starts
from ragbench.compare.pairs import OVERLOADED, Pair
from ragbench.compare.sides import BINS, COMPARED, LATENCIES, Run
from ragbench.statistics.intervals import Floats, Interval, means, quantiles

_SEED = 20_240_601  # of the resampling, so that one comparison has one outcome
FEWEST_IN_TAIL = 10  # requests beyond a percentile, of all seeds together, for an interval
TOO_FEW = "too few requests for an interval"
UNANSWERED = "it may fall among the unanswered requests"
ABSENT = float("nan")

Values = list[tuple[Floats, Floats]]  # of a and of b, a seed


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


@dataclass(frozen=True)
class Comparison:
    """All cells of one comparison."""

    cells: tuple[Cell, ...]

    @cached_property
    def compared(self) -> list[Cell]:
        """The cells that have a difference of their own."""
        return [cell for cell in self.cells if cell.difference is not None and not cell.is_repeat]

    @property
    def level(self) -> float:
        """The confidence of each cell's interval with which all hold at once."""
        return 1 - ALPHA / max(1, len(self.compared))

    def interval(self, cell: Cell) -> Interval | None:
        """Where the cell's difference lies, in percent of a, wide enough to hold with all others at once."""
        return None if cell.difference is None else cell.difference.interval(cells=max(1, len(self.compared)))

    def is_shown(self, cell: Cell) -> bool:
        """Whether the whole interval lies on one side of no difference."""
        interval = self.interval(cell)
        return interval is not None and (interval.low > 0 or interval.high < 0)

    @property
    def shown(self) -> list[Cell]:
        """The cells whose servers differ."""
        return [cell for cell in self.compared if self.is_shown(cell)]


def compare(pairs: Sequence[Pair]) -> Comparison:
    """Every figure of every pair."""
    streams = np.random.default_rng(_SEED).spawn(len(pairs))
    cells = [cell for pair, rng in zip(pairs, streams, strict=True) for cell in _pooled(pair, rng)]
    for alike in dict.fromkeys(cell.alike for cell in cells):
        own = {i: cell.difference for i, cell in enumerate(cells) if cell.alike == alike and cell.difference}
        for i, difference in zip(own, with_starts(list(own.values())), strict=True):
            cells[i] = replace(cells[i], difference=difference)
    return Comparison(tuple(cells))


def frame(comparison: Comparison) -> pd.DataFrame:
    """One row per cell. `..._percent`: b against a; `low`, `high` hold with all others at once, `_alone` by itself."""
    return pd.DataFrame([_row(comparison, cell) for cell in comparison.cells])


def _row(comparison: Comparison, cell: Cell) -> dict[str, object]:
    together, difference = comparison.interval(cell), cell.difference
    alone = difference.interval() if difference else None
    return {
        "a": cell.pair.a,
        "b": cell.pair.b,
        "arrival": cell.pair.arrival,
        "offered_rps": cell.pair.level.offered_rps or None,
        "concurrency": cell.pair.level.concurrency or None,
        "seeds": len(cell.pair.used),
        "metric": cell.metric,
        "a_value": cell.a,
        "b_value": cell.b,
        "difference_percent": getattr(difference, "percent", None),
        **{f"{end}_percent": getattr(together, end, None) for end in ("low", "high")},
        **{f"{end}_alone_percent": getattr(alone, end, None) for end in ("low", "high")},
        "is_shown": comparison.is_shown(cell),
        "method": getattr(difference, "method", None),
        "not_compared": cell.why_not or None,
        "overloaded": cell.pair.overloaded or None,
        "left_out": cell.pair.left_out or None,
    }


def _pooled(pair: Pair, rng: np.random.Generator) -> list[Cell]:
    """The cells of COMPARED, in that order; their errors do not yet include the starts."""
    cells = {metric: Cell(pair, metric, why_not=_why_not(pair, metric)) for metric in COMPARED}
    metrics = [metric for metric in COMPARED if not cells[metric].why_not]
    if metrics:
        runs = [(a.requests(), b.requests()) for a, b in pair.used]
        waits = [(a.latencies_s, b.latencies_s) for a, b in runs]
        answered = _per_s(pair, [(a.answered, b.answered) for a, b in runs])
        good = _per_s(pair, [(a.good, b.good) for a, b in runs])
        cells |= _latencies(pair, waits, [metric for metric in metrics if metric in LATENCIES], rng)
        if "throughput_rps" in metrics:
            cells["throughput_rps"] = _rate(pair, "throughput_rps", answered, rng)
        if "goodput_rps" in metrics and "throughput_rps" in metrics and _is_same(answered, good):
            cells["goodput_rps"] = replace(cells["throughput_rps"], metric="goodput_rps", is_repeat=True)
        elif "goodput_rps" in metrics:
            cells["goodput_rps"] = _rate(pair, "goodput_rps", good, rng)
    return list(cells.values())


def _why_not(pair: Pair, metric: str) -> str:
    """Why the points have no such figure to compare; empty: they have.

    In a growing queue, latency and the share of answers in time depend on how long it was measured. The latency of a
    server that refuses is that of fewer requests than were sent.
    """
    if not pair.used:
        return f"left out: {pair.left_out}"
    verdicts = pair.verdict(0), pair.verdict(1)
    if verdicts == ("valid", "valid"):
        return ""
    allowed = {"throughput_rps": OVERLOADED, "goodput_rps": ("shedding",)}.get(metric, ())
    return "" if all(verdict in allowed for verdict in verdicts) else pair.overloaded


def _latencies(pair: Pair, waits: Values, metrics: Sequence[str], rng: np.random.Generator) -> dict[str, Cell]:
    if not metrics:
        return {}
    shares = [LATENCIES[metric] for metric in metrics]
    is_paired = pair.is_paired and all(len(a) == len(b) for a, b in waits)
    found = estimates(waits, lambda values, counts: quantiles(values, counts, shares), is_paired=is_paired, rng=rng)
    fewest = min(sum(len(both[side]) for both in waits) for side in (0, 1))
    figures = [_quantiles(np.concatenate([both[side] for both in waits]), shares) for side in (0, 1)]
    cells = {}
    for metric, a, b, difference in zip(metrics, *figures, found or [None] * len(metrics), strict=True):
        is_enough = bool(found) and fewest * (1 - LATENCIES[metric]) >= FEWEST_IN_TAIL
        why_not = TOO_FEW if not is_enough else "" if difference else UNANSWERED
        cells[metric] = Cell(pair, metric, a, b, difference if is_enough else None, why_not)
    return cells


def _quantiles(values: Floats, shares: Sequence[float]) -> list[float]:
    if not values.size:
        return [ABSENT] * len(shares)
    found = quantiles(values, np.ones((1, len(values)), np.int32), shares)[0]
    return [float(each) if np.isfinite(each) else ABSENT for each in found]


def _per_s(pair: Pair, counts: Values) -> Values:
    """Answers a second in each BINS-th of the window; the windows of two seeds differ in length."""
    return [
        (a * BINS / _length_s(run_a), b * BINS / _length_s(run_b))
        for (a, b), (run_a, run_b) in zip(counts, pair.used, strict=True)
    ]


def _length_s(run: Run) -> float:
    return run.window_s[1] - run.window_s[0]


def _is_same(some: Values, others: Values) -> bool:
    return all(np.array_equal(x, y) for pair in zip(some, others, strict=True) for x, y in zip(*pair, strict=True))


def _rate(pair: Pair, metric: str, rates: Values, rng: np.random.Generator) -> Cell:
    """No interval of a rate is narrower than one answer more or less in each run."""
    a, b = (float(np.mean(np.concatenate(side))) for side in zip(*rates, strict=True))
    answers = [
        float(np.mean(each)) * _length_s(run)
        for both, runs in zip(rates, pair.used, strict=True)
        for each, run in zip(both, runs, strict=True)
    ]
    found = estimates(rates, means, is_paired=pair.is_paired, rng=rng, resolution=1 / max(1.0, min(answers)))
    difference = found[0] if found else None
    return Cell(pair, metric, a, b, difference, "" if difference else TOO_FEW if a and b else "a figure is 0")
