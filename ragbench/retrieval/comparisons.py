"""Comparisons of cells: speed-ups, frontiers, the bend of a curve. Pure; draws nothing."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

BASE = "plain"  # the backend that speed-ups count from
DATA_SET = ("data", "metric", "n", "d")
_SAME = (*DATA_SET, "k", "batch", "storage", "memory_mib", "threads", "seed")


def over_base(searches: pd.DataFrame) -> pd.DataFrame:
    """Flat searches other than BASE, with `speedup`: times as fast as BASE on the CPU at the same cell."""
    flat = searches[searches["index"] == "flat"]
    base = flat[(flat["backend"] == BASE) & (flat["device"] == "cpu") & (flat["dtype"] == "float32")]
    return _speedups(flat[flat["backend"] != BASE], base)


def over_cpu(searches: pd.DataFrame) -> pd.DataFrame:
    """Flat searches on a GPU, with `speedup`: times as fast as the fastest on the CPU, `against`, at the same cell."""
    flat = searches[searches["index"] == "flat"]
    cpu = flat[flat["device"] == "cpu"].sort_values("search_s").drop_duplicates(list(_SAME))
    return _speedups(flat[flat["device"] == "cuda"], cpu)


def _speedups(rows: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    against = base[[*_SAME, "search_s", "backend"]].rename(columns={"search_s": "base_s", "backend": "against"})
    joined = rows.merge(against, on=list(_SAME))
    return joined.assign(speedup=joined["base_s"] / joined["search_s"])


def at_largest_n(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each metric, d and batch the rows of the largest n."""
    return rows[rows["n"] == rows.groupby(["metric", "d", "batch"])["n"].transform("max")]


def frontier(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that no other row beats in both recall and queries/s, by recall."""
    ordered = rows.sort_values(["recall_at_k", "queries_per_s"])
    best_above = ordered["queries_per_s"][::-1].cummax()[::-1].shift(-1).fillna(0)
    return ordered[ordered["queries_per_s"] > best_above]


def most_measured(rows: pd.DataFrame, columns: Sequence[str], *, by: str) -> pd.DataFrame:
    """The group of rows by `columns` with the most values of `by`, then the most rows, then the largest columns."""
    if rows.empty:
        return rows
    groups = [(rows[by].nunique(), len(rows), place, rows) for place, (_, rows) in enumerate(_groups(rows, columns))]
    return max(groups, key=lambda group: group[:3])[3]


def groups_of(rows: pd.DataFrame, columns: Sequence[str], *, most: int) -> list[pd.DataFrame]:
    """The rows grouped by `columns`; where there are more groups than `most`, the largest ones, in their order."""
    return largest([group for _, group in _groups(rows, columns)], most)


def largest(groups: Sequence[pd.DataFrame], most: int) -> list[pd.DataFrame]:
    """The `most` groups with the most rows, in their order."""
    by_size = sorted(range(len(groups)), key=lambda place: -len(groups[place]))
    return [groups[place] for place in sorted(by_size[:most])]


def _groups(rows: pd.DataFrame, columns: Sequence[str]) -> list[tuple[object, pd.DataFrame]]:
    return list(rows.groupby(list(columns), dropna=False, sort=True))


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The power p of the line y ~ x^p through the points in logarithms (least squares)."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def bend(clusters: Sequence[float], inertia: Sequence[float]) -> float | None:
    """Where the curve bends most: the farthest below the line from its first point to its last; None without a bend.

    Source: Satopaa, Albrecht, Irwin and Raghavan, Finding a "Kneedle" in a Haystack, ICDCS workshops 2011.
    """
    x, y = np.asarray(clusters, dtype=float), np.asarray(inertia, dtype=float)
    if len(x) < 3 or y[0] <= y[-1]:
        return None
    below = 1 - (x - x[0]) / (x[-1] - x[0]) - (y - y[-1]) / (y[0] - y[-1])
    place = int(np.argmax(below))
    return float(x[place]) if below[place] > 0 else None
