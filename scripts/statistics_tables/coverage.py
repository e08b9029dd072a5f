"""How often the 95% intervals within a run hold the long-run truth: M/M/1 of known mean and quantiles."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from ragbench.statistics.columns import Floats, steady_window
from ragbench.statistics.latency_intervals import FIGURES, latency_intervals
from statistics_tables.queues import single

TITLE = "Coverage of the intervals of latencies"
LOADS, LENGTHS, RUNS, SEED = (0.3, 0.6, 0.8, 0.9), (300, 1000, 3000, 10_000), 400, 14_016
LEAST_SHOWN = 0.5  # of a cell's runs: where fewer show an interval, the cell counts as empty
WANTED, ALLOWED_ONCE = 0.9, 0.87


def rows(report: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """A row a load, a length and a figure."""
    for load in LOADS:
        for n in LENGTHS:
            report(f"coverage: load {load:g}, {n} requests")
            yield from cells(load, n, runs=RUNS)


def cells(load: float, n: int, *, runs: int) -> list[dict[str, Any]]:
    """The four figures of one load and length: how many runs show an interval, and how many of those hold the truth."""
    due, done = single(load, n, runs=runs, rng=np.random.default_rng([SEED, n, round(100 * load)]))
    found = [latency_intervals(_within(*run)) for run in zip(due, done, strict=True)]
    return [_cell(load, n, figure, [one[figure] for one in found]) for figure in FIGURES]


def _cell(load: float, n: int, figure: str, intervals: list[Any]) -> dict[str, Any]:
    mean = 1 / (1 - load)  # the time in the system is exponential
    truth = mean if figure == "mean" else -mean * np.log(1 - FIGURES[figure])
    shown = [one for one in intervals if one is not None]
    held = sum(one.low <= truth <= one.high for one in shown)
    return {
        "load": load,
        "requests": n,
        "figure": figure,
        "runs": len(intervals),
        "shown": len(shown),
        "held": held,
        "coverage": round(held / len(shown), 3) if len(shown) >= LEAST_SHOWN * len(intervals) else None,
        "missed_of_all": round((len(shown) - held) / len(intervals), 3),
    }


def _within(due_s: Floats, done_s: Floats) -> Floats:
    """The latencies that a point is judged by: of what was due in its steady window."""
    n = len(due_s)
    window = steady_window(due_s, duration_s=float(due_s[-1] - due_s[0]) * n / (n - 1))
    return (done_s - due_s)[window.holds(due_s)]


def notes(table: pd.DataFrame) -> list[str]:
    """What is counted, and whether the intervals keep what they promise."""
    known = table["coverage"].dropna()
    below = known[known < WANTED]
    rare = table[table["coverage"].isna() & (table["shown"] > 0)]
    return [
        "Each run starts empty; its interval is computed as for a point, from what was due after the first tenth.",
        f"`coverage` is held / shown. A cell in which fewer than {LEAST_SHOWN:.0%} of the runs show an interval counts "
        "as empty and has none. `missed_of_all`: runs that show an interval which misses, of all runs.",
        f"Cells that count as shown: {len(known)} of {len(table)}. Below {WANTED:.0%}: {len(below)}, the least "
        f"{known.min():.1%}; one cell of 48 may lie at {ALLOWED_ONCE:.0%} or above.",
        *_rare(rare, table),
        f"Of all {table['shown'].sum()} intervals shown, {table['held'].sum() / table['shown'].sum():.1%} hold.",
    ]


def _rare(rare: pd.DataFrame, table: pd.DataFrame) -> Iterable[str]:
    if rare.empty:
        return ()
    return (
        f"In {len(rare)} empty cells some runs show an interval all the same: {rare['shown'].sum()} of "
        f"{rare['runs'].sum()} runs, of which {rare['held'].sum()} hold. They are calm stretches of a busy queue, "
        "which look like a quieter one; no method that sees only the run can tell. In no cell do more than "
        f"{table['missed_of_all'].max():.1%} of all runs show an interval that misses.",
    )
