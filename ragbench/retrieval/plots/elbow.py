"""k-means: what more clusters buy and cost."""

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
    lines = contenders(rows)
    figure, grid = page(2, len(sets), panel_in=(max(2.6, 5.2 / len(sets)), 2.0), sharex="col", sharey="none")
    for across, group in enumerate(sets):
        for axes, column in zip(grid[:, across], ("inertia", "search_s"), strict=True):
            for place, line in enumerate(lines):
                line.having(group).draw(axes, "clusters", column, **under(place))
        log_axis(grid[1, across])
        grid[0, across].set_ylim(bottom=0)
        grid[0, across].set_title(data_set_text(group))
        grid[1, across].set_xlabel("clusters")
    grid[0, 0].set_ylabel("inertia")
    grid[1, 0].set_ylabel(axis_label("search_s"))
    notes = [pinned(rows, "iterations"), "inertia: sum of squared distances; of cosine, of 1 - cosine"]
    return finish(figure, results, "k-means: what more clusters buy", handles=handles_of(lines), notes=notes)
