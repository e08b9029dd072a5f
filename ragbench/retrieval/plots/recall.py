"""What recall costs: queries/s and memory of each index and backend, beside exact search."""

from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ragbench.plots.lines import MARKERS
from ragbench.plots.style import GREY, log_axis, page, styled
from ragbench.retrieval.comparisons import DATA_SET, frontier, groups_of, largest, most_measured
from ragbench.retrieval.plots.looks import (
    axis_label,
    contenders,
    data_set_text,
    finish,
    handles_of,
    mark,
    pinned,
    short,
    under,
)
from ragbench.retrieval.results import Results
from ragbench.retrieval.study import INDEXES

MOST_DATA_SETS = 3
_OTHERS = ("k", "batch")
APPROXIMATE = tuple(name for name in INDEXES if name != "flat")
MARKS = dict(zip(INDEXES, MARKERS, strict=False))


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
    lines, plane = contenders(rows), ("recall_at_k", "queries_per_s")
    titles = [f"{index}: {data_set_text(group)}" if len(sets) > 1 else index for group in sets for index in indexes]
    labels: dict[str, Any] = {
        "titles": titles,
        "xlabel": "recall_at_k",
        "ylabels": [axis_label("queries_per_s")] * len(sets),
    }
    figure, grid = page(len(sets), len(indexes), panel_in=(2.6, 2.4), sharex="all", sharey="row", **labels)
    for row, group in zip(grid, sets, strict=True):
        flat = group[group["index"] == "flat"]
        for axes, index in zip(row, indexes, strict=True):
            for line in lines:
                own = line.having(group[group["index"] == index])
                own.draw(axes, *plane, linestyle="", markersize=3.5, alpha=0.3, gid=None)
                replace(own, rows=frontier(own.rows)).draw(axes, *plane)
                line.having(flat).draw(axes, *plane, linestyle="", marker="*", markersize=8, zorder=4, gid=None)
            axes.axvline(1, color=GREY, linewidth=0.6, zorder=1)
        log_axis(row[0], form=FuncFormatter(short))
    marks = [mark("*", "exact search (flat)", markersize=8), mark("o", "faint: beaten in both", alpha=0.3)]
    notes = [pinned(rows, *DATA_SET, *_OTHERS), "Lines join the points that no other of the same backend beats in both"]
    return finish(figure, results, "What recall costs", handles=[*handles_of(lines), *marks], notes=notes)


@styled
def memory(results: Results) -> Figure | None:
    """index_mib against recall_at_k, a panel per data set, a mark per index; None without an approximate index."""
    sets = [group[group["index_mib"] > 0] for group in data_sets(results.searches)]
    sets = [group for group in sets if not group.empty]
    if not sets:
        return None
    rows = pd.concat(sets)
    lines = contenders(rows)
    titles = [data_set_text(group) for group in sets]
    labels: dict[str, Any] = {"titles": titles, "xlabel": "recall_at_k", "ylabels": [axis_label("index_mib")]}
    figure, grid = page(1, len(sets), panel_in=(2.5, 2.5), sharey="all", **labels)
    for axes, group in zip(grid[0], sets, strict=True):
        for place, line in enumerate(lines):
            looks = {"linestyle": "", "markerfacecolor": "none", "markersize": under(place)["markersize"]}
            for index, own in group.groupby("index"):
                gid = f"{line.label} {index}"
                line.having(own).draw(axes, "recall_at_k", "index_mib", marker=MARKS[str(index)], gid=gid, **looks)
    log_axis(grid[0, 0])
    marks = [mark(MARKS[name], name) for name in INDEXES if (rows["index"] == name).any()]
    handles = [*handles_of(lines, marker=""), *marks]
    return finish(figure, results, "Memory against recall", handles=handles, notes=[pinned(rows, *_OTHERS)])
