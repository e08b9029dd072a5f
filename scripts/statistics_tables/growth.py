"""How often a queue is called growing: below capacity it must hardly ever be, above it should be.

`before` is the rule of commit b269b21, which asked that the median latency rise.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from ragbench.statistics.columns import Columns, Floats, steady_window
from ragbench.statistics.growth import Growth, falls_short, growth
from statistics_tables.queues import columns, round_robin, single

TITLE = "Queues called growing, before and after"
Queue = Callable[..., tuple[Floats, Floats]]
QUEUES: dict[str, Queue] = {
    "M/M/1": single,
    "M/D/1": partial(single, is_markov=False),
    "one slow replica of three": round_robin,
}
STEADY, GROWING = (0.6, 0.8, 0.9, 0.95), (1.05, 1.1, 1.2, 1.5)
LENGTHS, RUNS, SEED = (100, 300, 1000, 3000), 300, 14_003
MOST_FALSE = 0.003


def rows(report: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """A row a queue, a load and a length."""
    for name in QUEUES:
        for load in (*STEADY, *GROWING):
            report(f"growth: {name} at {load:.0%}")
            for n in LENGTHS:
                yield cell(name, load, n, runs=RUNS)


def cell(name: str, load: float, n: int, *, runs: int) -> dict[str, Any]:
    """The share of runs called growing by the rule before, and by today's."""
    seed = [SEED, list(QUEUES).index(name), n, round(100 * load)]
    due, done = QUEUES[name](load, n, runs=runs, rng=np.random.default_rng(seed))
    told = np.array([_told(columns(*run)) for run in zip(due - due[:, :1], done - due[:, :1], strict=True)])
    before, after = np.mean(told, axis=0)
    return {
        "queue": name,
        "load": load,
        "requests": n,
        "runs": runs,
        "before": round(float(before), 4),
        "after": round(float(after), 4),
    }


def _told(run: Columns) -> tuple[bool, bool]:
    n = len(run.due_s)
    window = steady_window(run.due_s, duration_s=float(run.due_s[-1]) * n / (n - 1))
    grown = growth(run, window)
    after = (grown is not None and grown.lasts_to_the_end()) or falls_short(run, window) is not None
    return grown is not None and _was_growing(grown), after


def _was_growing(grown: Growth) -> bool:
    """The rule of b269b21."""
    behind = grown.behind
    limit = t.ppf(0.975, len(behind) - 1) * np.std(behind, ddof=1) / np.sqrt(len(behind))
    return bool(
        grown.gained > max(4.0, 0.02 * grown.due)
        and np.mean(behind) > limit
        and grown.in_flight.is_rising()
        and grown.latencies[0.5].is_rising()
    )


def notes(table: pd.DataFrame) -> list[str]:
    """What is counted, and the most false alarms."""
    steady = table[table["load"] < 1]
    pooled = steady.groupby(["queue", "load"])[["before", "after"]].mean()
    return [
        "Each run starts empty. Of three replicas in turn, the third takes three times as long, and `load` is its own; "
        "the others have a third of it, so that the median hides it.",
        f"Called growing below capacity, the most of any queue and load over all lengths: {pooled['before'].max():.2%} "
        f"before, {pooled['after'].max():.2%} after ({MOST_FALSE:.1%} is allowed). The most of any cell: "
        f"{steady['before'].max():.1%} before, {steady['after'].max():.1%} after; one run of 300 is 0.33%.",
    ]
