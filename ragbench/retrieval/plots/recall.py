"""Recall against speed: the frontier of each index and backend, beside exact search."""

from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ragbench.plots.style import GREY, log_axis, page, styled
from ragbench.retrieval.comparisons import DATA_SET, frontier, groups_of, largest, most_measured
from ragbench.retrieval.plots.looks import (
    Contender,
    axis_label,
    contenders,
    data_set_text,
    finish,
    handles_of,
    mark,
    pinned,
    short,
)
from ragbench.retrieval.results import Results
from ragbench.retrieval.study import INDEXES

MOST_DATA_SETS = 3
_OTHERS = ("k", "batch")
_PLANE = ("recall_at_k", "queries_per_s")
APPROXIMATE = tuple(name for name in INDEXES if name != "flat")


def data_sets(searches: pd.DataFrame) -> list[pd.DataFrame]:
    """The searches of each data set that has an approximate index, at one k and batch."""
    known = searches[searches["recall_at_k"].notna()]
    groups = [most_measured(group, _OTHERS, by="index") for group in groups_of(known, DATA_SET, most=len(known))]
    return largest([group for group in groups if group["index"].isin(APPROXIMATE).any()], MOST_DATA_SETS)


@styled
def recall(results: Results) -> Figure | None:
    """queries_per_s against recall_at_k, a column per index and a row per data set; None without such an index."""
    sets = data_sets(results.searches)
    if not sets:
        return None
    rows = pd.concat(sets)
    indexes = [name for name in APPROXIMATE if (rows["index"] == name).any()]
    lines = contenders(rows)
    figure, grid = page(len(sets), len(indexes), panel_in=(2.6, 2.4), sharex="all", sharey="row")
    for down, group in enumerate(sets):
        for across, index in enumerate(indexes):
            _draw(grid[down, across], group, index, lines)
            grid[down, across].set_title(f"{index}: {data_set_text(group)}" if len(sets) > 1 else index)
        log_axis(grid[down, 0])
        grid[down, 0].yaxis.set_major_formatter(FuncFormatter(short))
        grid[down, 0].set_ylabel(axis_label("queries_per_s"))
    for axes in grid[-1]:
        axes.set_xlabel("recall_at_k")
    marks = [mark("*", "exact search (flat)", markersize=8), mark("o", "faint: beaten in both", alpha=0.3)]
    notes = [pinned(rows, *DATA_SET, *_OTHERS), "Lines join the points that no other of the same backend beats in both"]
    return finish(figure, results, "What recall costs", handles=[*handles_of(lines), *marks], notes=notes)


def _draw(axes: Axes, rows: pd.DataFrame, index: str, lines: list[Contender]) -> None:
    flat = rows[rows["index"] == "flat"]
    for line in lines:
        own = line.having(rows[rows["index"] == index])
        own.draw(axes, *_PLANE, linestyle="", markersize=3.5, alpha=0.3, gid=None)
        replace(own, rows=frontier(own.rows)).draw(axes, *_PLANE)
        line.having(flat).draw(axes, *_PLANE, linestyle="", marker="*", markersize=8, zorder=4, gid=None)
    axes.axvline(1, color=GREY, linewidth=0.6, zorder=1)
