"""Exact search: queries/s as the collection grows, and how many times as fast one backend is as another."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from ragbench.plots.style import GREY, Shared, log_axis, page, styled
from ragbench.retrieval.comparisons import BASE, at_largest_n, most_measured, over_base, over_cpu
from ragbench.retrieval.plots.looks import Contender, axis_label, contenders, finish, handles_of, pinned, short
from ragbench.retrieval.results import Results
from ragbench.retrieval.study import METRICS

MOST_D, MOST_BATCHES = 5, 2
_OTHERS = ("data", "d", "k")


def growing(searches: pd.DataFrame) -> pd.DataFrame:
    """The flat searches of one kind of data, d and k, with several n: those of the widest range of n."""
    shown = most_measured(searches[searches["index"] == "flat"], _OTHERS, by="n")
    sizes = shown.groupby(["metric", "batch"])["n"].transform("nunique")
    return shown[sizes > 1].sort_values("n")


@styled
def growth(results: Results) -> Figure | None:
    """queries_per_s against n; None where no n varies."""
    title, labels = "Exact search as the collection grows", ("n (vectors)", axis_label("queries_per_s"))
    return _figure(results, growing(results.searches), _lines, title=title, labels=labels, sharex="all")


@styled
def speedup(results: Results) -> Figure | None:
    """Speed-up of each backend over plain NumPy on the CPU, by d."""
    title, note = f"Exact search: times as fast as {BASE} NumPy", f"The line at 1 is {BASE} on the CPU"
    return _speedups(results, over_base(results.searches), title=title, note=note)


@styled
def gpu(results: Results) -> Figure | None:
    """Speed-up of each backend on a GPU over the fastest on the CPU, by d; None without a GPU."""
    title = "Exact search: GPU against CPU, times as fast"
    note = "The line at 1 is the fastest backend on the CPU at that cell"
    return _speedups(results, over_cpu(results.searches), title=title, note=note)


def _speedups(results: Results, rows: pd.DataFrame, *, title: str, note: str) -> Figure | None:
    shown = at_largest_n(most_measured(rows, ("data", "k"), by="d"))
    shown = shown[shown["d"].isin(_spread(shown["d"], MOST_D))]
    return _figure(results, shown, _stems, title=title, labels=("", "speedup (times)"), note=note)


def _figure(
    results: Results,
    rows: pd.DataFrame,
    draw: Callable[[Axes, pd.DataFrame, list[Contender]], None],
    *,
    title: str,
    labels: tuple[str, str],
    sharex: Shared = "none",
    note: str = "",
) -> Figure | None:
    """A panel per metric (columns) and batch (rows: the smallest and the largest); None without rows.

    `labels`: of the x axis and the y axis.
    """
    batches = _spread(rows["batch"], MOST_BATCHES)
    rows = rows[rows["batch"].isin(batches)]
    if rows.empty:
        return None
    metrics = [name for name in METRICS["search"] if (rows["metric"] == name).any()]
    lines, panels = contenders(rows), list(product(batches, metrics))
    titles = [f"{metric}, batch {batch}" for batch, metric in panels]
    texts: dict[str, Any] = {"titles": titles, "xlabel": labels[0], "ylabels": [labels[1]] * len(batches)}
    figure, grid = page(len(batches), len(metrics), panel_in=(2.5, 2.2), sharex=sharex, sharey="all", **texts)
    for axes, (batch, metric) in zip(grid.flat, panels, strict=True):
        draw(axes, rows[(rows["metric"] == metric) & (rows["batch"] == batch)], lines)
    log_axis(grid[0, 0], form=FuncFormatter(short))
    return finish(figure, results, title, handles=handles_of(lines), notes=[note, pinned(rows, *_OTHERS)])


def _lines(axes: Axes, rows: pd.DataFrame, lines: list[Contender]) -> None:
    for line in lines:
        line.having(rows).draw(axes, "n", "queries_per_s")
    log_axis(axes, "x", form=FuncFormatter(short))


def _stems(axes: Axes, rows: pd.DataFrame, lines: list[Contender]) -> None:
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


def _spread(values: pd.Series, most: int) -> list[int]:
    """At most so many different values, evenly through their order, with the first and the last."""
    ordered = sorted(values.unique())
    if len(ordered) <= most:
        return ordered
    return [ordered[round(place * (len(ordered) - 1) / (most - 1))] for place in range(most)]
