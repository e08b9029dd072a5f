"""Two servers on the same loads: the difference of each figure at each load, with an interval, in words.

Words are said of all cells at once: with m cells, each is judged at 1 - 0.05 / m (Bonferroni), so that two equal
servers are told apart anywhere in one comparison of twenty at most. Which runs meet is decided in pairs.py, which
figures of theirs in pooling.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ragbench.compare.differences import ALPHA, Difference, differences
from ragbench.compare.pairs import Pair
from ragbench.compare.pooling import pooled
from ragbench.statistics.intervals import Interval

_SEED = 20_240_601  # of the resampling, so that one comparison has one outcome


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure at one load. `a`, `b`: of all seeds together. `why_not`: why there is no difference to tell.

    `is_repeat`: its answers are those of the cell before it, as goodput's are throughput's where all came in time, and
    it is not counted again.
    """

    pair: Pair
    metric: str
    a: float
    b: float
    difference: Difference | None
    why_not: str = ""
    is_repeat: bool = False

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
        found = self.interval(cell)
        return found is not None and (found.low > 0 or found.high < 0)

    @property
    def shown(self) -> list[Cell]:
        """The cells whose servers differ."""
        return [cell for cell in self.compared if self.is_shown(cell)]


def compare(pairs: Sequence[Pair]) -> Comparison:
    """Every figure of every pair."""
    streams = np.random.default_rng(_SEED).spawn(len(pairs))
    figures = [figure for pair, rng in zip(pairs, streams, strict=True) for figure in pooled(pair, rng)]
    found: dict[int, Difference] = {}
    for alike in dict.fromkeys(figure.alike for figure in figures):
        group = {i: each.estimate for i, each in enumerate(figures) if each.alike == alike and each.estimate}
        found |= dict(zip(group, differences(list(group.values())), strict=True))
    return Comparison(
        tuple(
            Cell(each.pair, each.metric, each.a, each.b, found.get(i), each.why_not, each.is_repeat)
            for i, each in enumerate(figures)
        )
    )


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
        "seeds": len(cell.pair.used),
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
        "overloaded": cell.pair.overloaded or None,
        "left_out": cell.pair.left_out or None,
    }
