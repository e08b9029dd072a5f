"""What an index takes of memory, and the recall that this buys."""

import pandas as pd
from matplotlib.figure import Figure

from ragbench.plots.lines import MARKERS
from ragbench.plots.style import log_axis, panels, styled
from ragbench.retrieval.plots.looks import (
    axis_label,
    contenders,
    data_set_text,
    finish,
    handles_of,
    mark,
    pinned,
    under,
)
from ragbench.retrieval.plots.recall import data_sets
from ragbench.retrieval.results import Results
from ragbench.retrieval.study import INDEXES

MARKS = dict(zip(INDEXES, MARKERS, strict=False))


@styled
def memory(results: Results) -> Figure | None:
    """index_mib against recall_at_k, a panel per data set, a mark per index; None without an approximate index."""
    sets = [group[group["index_mib"] > 0] for group in data_sets(results.searches)]
    sets = [group for group in sets if not group.empty]
    if not sets:
        return None
    rows = pd.concat(sets)
    lines = contenders(rows)
    figure, grid = panels(len(sets))
    for axes, group in zip(grid.flat, sets, strict=False):
        for place, line in enumerate(lines):
            looks = {"linestyle": "", "markerfacecolor": "none", "markersize": under(place)["markersize"]}
            for index, own in group.groupby("index"):
                gid = f"{line.label} {index}"
                line.having(own).draw(axes, "recall_at_k", "index_mib", marker=MARKS[str(index)], gid=gid, **looks)
        axes.set_title(data_set_text(group))
        axes.set_xlabel("recall_at_k")
    log_axis(grid[0, 0])
    for row in grid:
        row[0].set_ylabel(axis_label("index_mib"))
    found = [mark(MARKS[name], name) for name in INDEXES if (rows["index"] == name).any()]
    notes = [pinned(rows, "k", "batch")]
    return finish(
        figure, results, "Memory against recall", handles=[*handles_of(lines, marker=""), *found], notes=notes
    )
