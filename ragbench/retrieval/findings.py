"""Findings of a retrieval study in sentences: the fastest backends, recall, memory, k-means, the roofline."""

from collections.abc import Callable, Iterator

import pandas as pd

from ragbench.retrieval.comparisons import BASE, at_largest_n, bend, most_measured, over_base, over_cpu, slope
from ragbench.retrieval.plots.elbow import curves
from ragbench.retrieval.plots.exact import growing
from ragbench.retrieval.plots.looks import contenders
from ragbench.retrieval.plots.recall import APPROXIMATE, data_sets
from ragbench.retrieval.results import Results

ENOUGH = 0.95  # the recall at which indexes are compared


def speedup(results: Results) -> list[str]:
    """Per metric, the fastest backend on the CPU at each d, and how many times as fast as BASE."""
    rows = over_base(results.searches)
    return _fastest(rows[rows["device"] == "cpu"], BASE)


def gpu(results: Results) -> list[str]:
    """Per metric, the fastest backend of the GPU against that of the CPU at each d; or that no row is of a GPU."""
    cells = results.cells[results.cells["device"] == "cuda"]
    if not (cells["status"] == "ok").any():
        why = list(dict.fromkeys(f"{row.status}: {row.reason}" for row in cells.itertuples()))
        reasons = f" ({'; '.join(why[:3])})" if why else ""
        return [f"No row of this study was measured on a GPU{reasons}: all findings are of the CPU."]
    rows = over_cpu(results.searches)
    if rows.empty:
        return ["No exact search was measured on both a GPU and the CPU."]
    return _fastest(rows, "the fastest on the CPU")


def _fastest(rows: pd.DataFrame, base: str) -> list[str]:
    rows = at_largest_n(most_measured(rows, ("data", "k"), by="d"))
    rows = rows[rows["batch"] == rows["batch"].max()]
    best = rows.loc[rows.groupby(["metric", "d"])["speedup"].idxmax()] if len(rows) else rows
    lines = []
    for metric, group in best.groupby("metric", sort=False):
        parts = [f"{row.backend} {number(row.speedup)} at d {row.d:,}" for row in group.itertuples()]
        lines.append(f"{metric}, batch {group['batch'].iloc[0]}, times as fast as {base}: {_listed(parts)}.")
    return lines


def growth(results: Results) -> list[str]:
    """Per backend, the time of a search as a power of n, at the largest batch."""
    rows = growing(results.searches)
    lines = []
    for metric, group in rows[rows["batch"] == rows["batch"].max()].groupby("metric", sort=False):
        sizes = f"from n {group['n'].min():,} to {group['n'].max():,}"
        several = [line for line in contenders(group) if line.rows["n"].nunique() > 1]
        powers = [
            f"{_bracketed(line.label)} n^{slope(line.rows['n'].astype(float), line.rows['search_s']):.2f}"
            for line in several
        ]
        top = group[group["n"] == group["n"].max()].sort_values("queries_per_s", ascending=False).iloc[0]
        lines.append(
            f"{metric}, {sizes}: the time of a search grows as {_listed(powers)}. At the largest, "
            f"{_who(top)} is fastest: {number(top['queries_per_s'])} queries/s."
        )
    return lines


def recall(results: Results) -> list[str]:
    """Per data set, the fastest search of each index at a recall of ENOUGH, against the fastest exact one."""
    return [line for rows in data_sets(results.searches) for line in _at_recall(rows)]


def _at_recall(rows: pd.DataFrame) -> Iterator[str]:
    flat = rows[rows["index"] == "flat"].sort_values("queries_per_s").tail(1)
    parts = []
    for index in APPROXIMATE:
        own = rows[rows["index"] == index]
        enough = own[own["recall_at_k"] >= ENOUGH].sort_values("queries_per_s").tail(1)
        if own.empty:
            continue
        if enough.empty:
            parts.append(f"{index} never comes so far ({own['recall_at_k'].max():.2f} at best)")
            continue
        row = enough.iloc[0]
        more = (
            f", {number(row['queries_per_s'] / flat['queries_per_s'].iloc[0])} times the exact search"
            if len(flat)
            else ""
        )
        parts.append(f"{index} of {_who(row)} answers {number(row['queries_per_s'])} queries/s{more}")
    yield f"{_data(rows)}, recall at least {ENOUGH:g}: {_listed(parts)}."


def memory(results: Results) -> list[str]:
    """Per data set, the smallest index at a recall of ENOUGH, against the flat one."""
    lines = []
    for rows in data_sets(results.searches):
        enough = rows[(rows["recall_at_k"] >= ENOUGH) & (rows["index_mib"] > 0)].sort_values("index_mib")
        flat = rows[(rows["index"] == "flat") & (rows["index_mib"] > 0)].sort_values("index_mib")
        if len(enough):
            row = enough.iloc[0]
            of = f", {row['index_mib'] / flat['index_mib'].iloc[0]:.0%} of the smallest flat one" if len(flat) else ""
            lines.append(
                f"{_data(rows)}, recall at least {ENOUGH:g}: the smallest index is {row['index']} of {_who(row)}, "
                f"{number(row['index_mib'])} MiB{of}, at recall {row['recall_at_k']:.3f}."
            )
    return lines


def elbow(results: Results) -> list[str]:
    """Per data set, where inertia bends, and the fastest backend of the largest training with its time."""
    lines = []
    for rows in curves(results.trainings):
        longest = max(contenders(rows), key=lambda line: line.rows["clusters"].nunique()).rows.sort_values("clusters")
        bend_at = bend(list(longest["clusters"].astype(float)), list(longest["inertia"]))
        bends = f"inertia bends most at {bend_at:g} clusters" if bend_at is not None else "inertia has no bend"
        top = rows[rows["clusters"] == rows["clusters"].max()].sort_values("search_s")
        first, last = top.iloc[0], top.iloc[-1]
        slowest = (
            f"; {_who(last)} takes {number(last['search_s'] / first['search_s'])} times as long" if len(top) > 1 else ""
        )
        lines.append(
            f"{_data(rows)}: {bends}. {first['clusters']} clusters are found fastest by {_who(first)}, in "
            f"{number(first['search_s'])} s{slowest}."
        )
    return lines


def roofline(results: Results) -> list[str]:
    """Per device, the cell that comes nearest to its roofline, and the median of each backend."""
    rows = pd.concat([results.searches, results.trainings])
    lines = []
    for device, group in rows[rows["of_roofline"].notna()].groupby("device"):
        best = group.loc[group["of_roofline"].idxmax()]
        medians = group.groupby("backend")["of_roofline"].median().sort_values(ascending=False)
        shares = _listed([f"{name} {share:.0%}" for name, share in medians.items()])
        work = "k-means" if best["task"] == "kmeans" else f"{best['index']} search, batch {best['batch']}"
        where = f"{work}, {_data(group.loc[[best.name]])}"
        lines.append(
            f"{device}: nearest is {best['backend']} at {best['of_roofline']:.0%} ({where}); medians over the cells of "
            f"each: {shares}."
        )
    return lines


FINDINGS: dict[str, Callable[[Results], list[str]]] = {
    "speedup": speedup,
    "gpu": gpu,
    "growth": growth,
    "recall": recall,
    "memory": memory,
    "elbow": elbow,
    "roofline": roofline,
}


def number(value: float) -> str:
    """Three digits at most: 0.0123, 4.2, 31, 12,300."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}" if value < 10 else f"{value:.0f}"


def _bracketed(label: str) -> str:
    name, comma, rest = label.partition(", ")
    return f"{name} ({rest})" if comma else name


def _who(row: pd.Series) -> str:
    return str(row["backend"]) if row["device"] == "cpu" else f"{row['backend']} ({row['device']})"


def _data(rows: pd.DataFrame) -> str:
    row = rows.iloc[0]
    return f"{row['metric']}, {row['data']}, n {row['n']:,}, d {row['d']:,}"


def _listed(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1] if parts else ""]))
