"""How many times as fast: each backend against plain NumPy, and a GPU against the fastest on the CPU."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ragbench.plots.style import GREY, log_axis, page, styled
from ragbench.retrieval.comparisons import BASE, at_largest_n, most_measured, over_base, over_cpu
from ragbench.retrieval.plots.looks import Contender, contenders, finish, handles_of, pinned, short
from ragbench.retrieval.results import Results
from ragbench.retrieval.study import METRICS

MOST_D, MOST_BATCHES = 5, 2
_OTHERS = ("data", "k")
_FEW_DECADES = 1000  # from here on labels at the powers of ten are enough


@styled
def speedup(results: Results) -> Figure | None:
    """Speed-up of each backend over plain NumPy on the CPU, by metric (columns), batch (rows) and d; flat searches."""
    return _figure(
        results,
        over_base(results.searches),
        title=f"Exact search: times as fast as {BASE} NumPy",
        note=f"The line at 1 is {BASE} on the CPU",
    )


@styled
def gpu(results: Results) -> Figure | None:
    """Speed-up of each backend on a GPU over the fastest on the CPU; None without a GPU."""
    return _figure(
        results,
        over_cpu(results.searches),
        title="Exact search: GPU against CPU, times as fast",
        note="The line at 1 is the fastest backend on the CPU at that cell",
    )


def _figure(results: Results, rows: pd.DataFrame, *, title: str, note: str) -> Figure | None:
    shown = at_largest_n(most_measured(rows, _OTHERS, by="d"))
    if shown.empty:
        return None
    shown = shown[shown["d"].isin(_spread(shown["d"])) & shown["batch"].isin(_ends(shown["batch"]))]
    metrics = [name for name in METRICS["search"] if (shown["metric"] == name).any()]
    batches = sorted(shown["batch"].unique())
    lines = contenders(shown)
    figure, grid = page(len(batches), len(metrics), panel_in=(2.5, 2.2), sharey="all")
    for across, metric in enumerate(metrics):
        for down, batch in enumerate(batches):
            rows = shown[(shown["metric"] == metric) & (shown["batch"] == batch)]
            _draw(grid[down, across], rows, lines)
            grid[down, across].set_title(f"{metric}, batch {batch}")
    for row in grid:
        log_axis(row[0])
        low, high = row[0].get_ylim()
        if high / low < _FEW_DECADES:
            row[0].yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        row[0].set_ylabel("speedup (times)")
    notes = [note, pinned(shown, *_OTHERS)]
    return finish(figure, results, title, handles=handles_of(lines), notes=notes)


def _draw(axes: Axes, rows: pd.DataFrame, lines: list[Contender]) -> None:
    """A group of stems per d, from 1 to the speed-up."""
    groups = sorted(rows["d"].unique())
    axes.axhline(1, color=GREY, linewidth=0.9, zorder=1)
    for place, line in enumerate(lines):
        own = line.having(rows)
        at = [groups.index(d) + (place - (len(lines) - 1) / 2) * 0.8 / len(lines) for d in own.rows["d"]]
        axes.vlines(at, 1, own.rows["speedup"], color=line.colour, linewidth=1.2, linestyle=line.dash, zorder=2)
        axes.plot(at, own.rows["speedup"], line.marker, color=line.colour, markersize=4, zorder=3, gid=line.label)
    largest = {d: rows.loc[rows["d"] == d, "n"].max() for d in groups}
    axes.set_xticks(range(len(groups)), [f"d {d:,}\nn {short(largest[d])}" for d in groups])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.6, max(len(groups) - 0.4, 0.6))


def _spread(values: pd.Series) -> list[int]:
    """At most MOST_D of them, evenly through their order, with the first and the last."""
    found = sorted(values.unique())
    if len(found) <= MOST_D:
        return found
    return [found[round(place * (len(found) - 1) / (MOST_D - 1))] for place in range(MOST_D)]


def _ends(values: pd.Series) -> list[int]:
    found = sorted(values.unique())
    return found if len(found) <= MOST_BATCHES else [found[0], found[-1]]
