"""k-means: what more clusters buy and cost."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ragbench.plots.style import log_axis, page, styled
from ragbench.retrieval.comparisons import DATA_SET, groups_of, most_measured
from ragbench.retrieval.plots.looks import axis_label, contenders, data_set_text, finish, handles_of, pinned, under
from ragbench.retrieval.results import Results

MOST_DATA_SETS = 4


def curves(trainings: pd.DataFrame) -> list[pd.DataFrame]:
    """The trainings by data set, at one number of iterations each: those of several numbers of clusters."""
    groups = groups_of(trainings, DATA_SET, most=MOST_DATA_SETS)
    chosen = [most_measured(group, ["iterations"], by="clusters") for group in groups]
    return [group for group in chosen if group["clusters"].nunique() > 1]


@styled
def elbow(results: Results) -> Figure | None:
    """Inertia (above) and search_s, the time of a training (below), against clusters; a column per data set."""
    sets = curves(results.trainings)
    if not sets:
        return None
    rows = pd.concat(sets).sort_values("clusters")
    lines, columns = contenders(rows), ("inertia", "search_s")
    size, titles = (max(2.6, 5.2 / len(sets)), 2.0), [data_set_text(group) for group in sets]
    labels: dict[str, Any] = {"titles": titles, "xlabel": "clusters", "ylabels": ("inertia", axis_label("search_s"))}
    figure, grid = page(2, len(sets), panel_in=size, sharex="col", **labels)
    for panels, group in zip(grid.T, sets, strict=True):
        for axes, column in zip(panels, columns, strict=True):
            for place, line in enumerate(lines):
                line.having(group).draw(axes, "clusters", column, **under(place))
        panels[0].set_ylim(bottom=0)
        log_axis(panels[1])
    notes = [pinned(rows, "iterations"), "inertia: sum of squared distances; of cosine, of 1 - cosine"]
    return finish(figure, results, "k-means: what more clusters buy", handles=handles_of(lines), notes=notes)
