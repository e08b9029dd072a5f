"""Queries per second as the collection grows, a line per backend and device."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ragbench.plots.style import log_axis, page, styled
from ragbench.retrieval.comparisons import most_measured
from ragbench.retrieval.plots.looks import axis_label, contenders, finish, handles_of, pinned, short
from ragbench.retrieval.results import Results
from ragbench.retrieval.study import METRICS

_OTHERS = ("data", "d", "k")
MOST_BATCHES = 2


def growing(searches: pd.DataFrame) -> pd.DataFrame:
    """The flat searches of one kind of data, d and k, with several n: those of the widest range of n."""
    flat = searches[searches["index"] == "flat"]
    shown = most_measured(flat, _OTHERS, by="n")
    sizes = shown.groupby(["metric", "batch"])["n"].transform("nunique")
    return shown[sizes > 1]


@styled
def growth(results: Results) -> Figure | None:
    """queries_per_s against n, by metric (columns) and batch (rows); None where no n varies."""
    rows = growing(results.searches)
    if rows.empty:
        return None
    sizes = sorted(rows["batch"].unique())
    batches = sizes if len(sizes) <= MOST_BATCHES else [sizes[0], sizes[-1]]
    metrics = [name for name in METRICS["search"] if (rows["metric"] == name).any()]
    rows = rows[rows["batch"].isin(batches)].sort_values("n")
    lines = contenders(rows)
    figure, grid = page(len(batches), len(metrics), panel_in=(2.5, 2.2), sharex="all", sharey="all")
    for across, metric in enumerate(metrics):
        for down, batch in enumerate(batches):
            own = rows[(rows["metric"] == metric) & (rows["batch"] == batch)]
            for line in lines:
                line.having(own).draw(grid[down, across], "n", "queries_per_s")
            grid[down, across].set_title(f"{metric}, batch {batch}")
        grid[-1, across].set_xlabel("n (vectors)")
    log_axis(grid[0, 0], "x")
    grid[0, 0].xaxis.set_major_formatter(FuncFormatter(short))
    log_axis(grid[0, 0], "y")
    grid[0, 0].yaxis.set_major_formatter(FuncFormatter(short))
    for row in grid:
        row[0].set_ylabel(axis_label("queries_per_s"))
    return finish(
        figure,
        results,
        "Exact search as the collection grows",
        handles=handles_of(lines),
        notes=[pinned(rows, *_OTHERS)],
    )
