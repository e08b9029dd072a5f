"""Two servers on the same loads: the difference of each figure at each load, with an interval, in words.

Words are said of all cells at once: with m cells, each is judged at 1 - 0.05 / m (Bonferroni), so that two equal
servers are told apart anywhere in one comparison of twenty at most. Which runs meet is decided in pairs.py, which
figures of theirs in pooling.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ragbench.compare.differences import ALPHA, with_starts
from ragbench.compare.pairs import Pair
from ragbench.compare.pooling import Cell, pooled
from ragbench.statistics.intervals import Interval

_SEED = 20_240_601  # of the resampling, so that one comparison has one outcome


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
    cells = [cell for pair, rng in zip(pairs, streams, strict=True) for cell in pooled(pair, rng)]
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
