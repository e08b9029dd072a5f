"""Two servers on the same loads: the difference of each figure at each load, with an interval, in words.

Words are said of all cells at once: with m cells, each is judged at 1 - 0.05 / m (Bonferroni), so that two equal
servers are told apart anywhere in one comparison of twenty at most. Which runs meet is decided in pairs.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ragbench.differences import FEWEST_SEEDS, Difference, over_seeds, quantiles, totals, within_runs
from ragbench.intervals import Floats, Interval
from ragbench.pairs import Pair
from ragbench.sides import METRICS, Requests

ALPHA = 0.05
LATENCIES = {"latency_p50_s": 0.50, "latency_p95_s": 0.95, "latency_p99_s": 0.99}
FEWEST_IN_TAIL = 10  # requests beyond a percentile, for an interval from within the runs
_SEED = 20_240_601  # of the resampling, so that one comparison has one outcome


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure at one load. `a`, `b`: geometric means over seeds. `why_not`: why there is no difference to tell."""

    pair: Pair
    metric: str
    a: float
    b: float
    difference: Difference | None
    why_not: str = ""

    @property
    def short(self) -> str:
        """The figure as in words: p95, throughput."""
        return self.metric.removeprefix("latency_").removesuffix("_s").removesuffix("_rps")


@dataclass(frozen=True)
class Comparison:
    """All cells of one comparison."""

    cells: tuple[Cell, ...]

    @cached_property
    def compared(self) -> list[Cell]:
        """The cells that have a difference."""
        return [cell for cell in self.cells if cell.difference is not None]

    @property
    def level(self) -> float:
        """The confidence of each cell's interval with which all hold at once."""
        return 1 - ALPHA / max(1, len(self.compared))

    def interval(self, cell: Cell) -> Interval | None:
        """Where the cell's difference lies, in percent of a, wide enough to hold with all others at once."""
        return None if cell.difference is None else cell.difference.interval(self.level)

    def is_shown(self, cell: Cell) -> bool:
        """Whether the whole interval lies on one side of no difference."""
        found = self.interval(cell)
        return found is not None and (found.low > 0 or found.high < 0)

    @property
    def shown(self) -> list[Cell]:
        """The cells whose servers differ."""
        return [cell for cell in self.compared if self.is_shown(cell)]


def compare(pairs: Sequence[Pair]) -> Comparison:
    """Every figure of every pair."""
    streams = np.random.default_rng(_SEED).spawn(len(pairs))
    return Comparison(tuple(cell for pair, rng in zip(pairs, streams, strict=True) for cell in _cells(pair, rng)))


def _cells(pair: Pair, rng: np.random.Generator) -> list[Cell]:
    differences = _over_seeds(pair) if len(pair.runs) >= FEWEST_SEEDS else _within_runs(pair, rng)
    cells = []
    for metric in METRICS:
        a, b = (np.array([runs[side].figures[metric] for runs in pair.runs]) for side in (0, 1))
        why_not = _why_not(pair, metric)
        difference = None if why_not else differences.get(metric)
        if difference is None and not why_not:
            why_not = "too few requests for an interval" if len(pair.runs) < FEWEST_SEEDS else "a figure is absent or 0"
        cells.append(Cell(pair, metric, _middle(a), _middle(b), difference, why_not))
    return cells


def _why_not(pair: Pair, metric: str) -> str:
    """The latency of a queue that grows says how long it was watched; a failed point has no figures."""
    if any(run.verdict == "failed" for runs in pair.runs for run in runs):
        return "failed"
    if metric in LATENCIES and (pair.is_growing(0) or pair.is_growing(1)):
        names = [name for side, name in enumerate((pair.a, pair.b)) if pair.is_growing(side)]
        return f"{' and '.join(names)} saturated"
    return ""


def _middle(figures: Floats) -> float:
    if not len(figures) or not np.all(figures > 0):
        return float(np.mean(figures)) if len(figures) else float("nan")
    return float(np.exp(np.mean(np.log(figures))))


def _over_seeds(pair: Pair) -> dict[str, Difference | None]:
    return {
        metric: over_seeds(
            *([runs[side].figures[metric] for runs in pair.runs] for side in (0, 1)),
            is_paired=pair.is_paired,
            resolution=_resolution(pair, metric),
        )
        for metric in METRICS
    }


def _resolution(pair: Pair, metric: str) -> float:
    """One answer more or less for a rate; nothing for a latency."""
    if metric in LATENCIES:
        return 0.0
    counts = [run.figures[metric] * (run.window_s[1] - run.window_s[0]) for runs in pair.runs for run in runs]
    return 1 / max(1.0, min(counts))


def _within_runs(pair: Pair, rng: np.random.Generator) -> dict[str, Difference | None]:
    runs = [(a.requests(), b.requests()) for a, b in pair.runs]
    found: dict[str, Difference | None] = dict.fromkeys(METRICS)
    fewest = min(np.count_nonzero(~np.isnan(side.latencies_s)) for both in runs for side in both)
    told = [metric for metric, share in LATENCIES.items() if fewest * (1 - share) >= FEWEST_IN_TAIL]
    if told:
        found |= _latencies(runs, told, is_paired=pair.is_paired, rng=rng)
    for metric, field in (("throughput_rps", "answered"), ("goodput_rps", "good")):
        counts = [(getattr(a, field), getattr(b, field)) for a, b in runs]
        resolution = _resolution(pair, metric)
        one = within_runs(counts, totals, is_paired=pair.is_paired, rng=rng, resolution=resolution)
        found[metric] = one[0] if one else None
    return found


def _latencies(
    runs: Sequence[tuple[Requests, Requests]], metrics: Sequence[str], *, is_paired: bool, rng: np.random.Generator
) -> dict[str, Difference | None]:
    shares = [LATENCIES[metric] for metric in metrics]
    both = [(a.latencies_s, b.latencies_s) for a, b in runs]
    is_paired = is_paired and all(len(a) == len(b) for a, b in both)
    found = within_runs(both, lambda values: quantiles(values, shares), is_paired=is_paired, rng=rng)
    return dict(zip(metrics, found, strict=True)) if found else {}


def frame(comparison: Comparison) -> pd.DataFrame:
    """One row per cell. `..._percent`: b against a; `low`, `high` hold with all others at once, `_alone` by itself."""
    return pd.DataFrame([_row(comparison, cell) for cell in comparison.cells])


def _row(comparison: Comparison, cell: Cell) -> dict[str, object]:
    together = comparison.interval(cell)
    alone = cell.difference.interval() if cell.difference else None
    return {
        "a": cell.pair.a,
        "b": cell.pair.b,
        "arrival": cell.pair.arrival,
        "offered_rps": cell.pair.level.offered_rps or None,
        "concurrency": cell.pair.level.concurrency or None,
        "seeds": len(cell.pair.runs),
        "metric": cell.metric,
        "a_value": cell.a,
        "b_value": cell.b,
        "difference_percent": cell.difference.percent if cell.difference else None,
        "low_percent": together.low if together else None,
        "high_percent": together.high if together else None,
        "low_alone_percent": alone.low if alone else None,
        "high_alone_percent": alone.high if alone else None,
        "is_shown": comparison.is_shown(cell),
        "method": cell.difference.method if cell.difference else None,
        "not_compared": cell.why_not or None,
        "remark": cell.pair.remark or None,
    }
