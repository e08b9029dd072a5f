"""How every figure looks: page, axes, legend, caption. Leaves none of matplotlib's globals changed."""

import textwrap
from collections.abc import Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, Formatter, LogLocator, NullFormatter, NullLocator, StrMethodFormatter

from ragbench.plots.lines import SIMULATED, Line
from ragbench.results.folder import Study
from ragbench.results.metrics import METRICS

DPI = 200
# Prefixes of the settings that a figure does not show, which stay the user's.
_NOT_SHOWN = (
    *("backend", "interactive", "toolbar", "webagg", "tk.", "macosx", "keymap", "figure.max_open", "savefig.dir"),
)
DEFAULTS = {name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith(_NOT_SHOWN)}
RC = DEFAULTS | {
    "text.parse_math": False,  # a $ in a name is a $
    "font.family": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "path",
    "svg.hashsalt": "ragbench",
    "savefig.dpi": DPI,
}
CLOSEST_TICKS = 12
# Labels within a decade, by how many times its low end an axis' high end is at least.
LOG_LABELS = {60: (1.0,), 8: (1.0, 2.0, 5.0), 0: (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)}
PANELS_A_ROW, PANEL_LETTERS = 4, 26
MARGIN_IN, TITLE_IN, ROW_IN = 0.08, 0.24, 0.17
HANDLE_IN, LETTER_IN = 0.68, 0.058
GREY = "#666666"
PLAIN = StrMethodFormatter("{x:g}")  # 0.01 and 10 rather than powers
Shared = Literal["none", "all", "row", "col"]
styled = mpl.rc_context(RC)  # a decorator: a function draws under RC, and leaves matplotlib's own settings as they were


def page(
    rows: int,
    columns: int,
    *,
    panel_in: tuple[float, float],
    sharex: Shared = "none",
    sharey: Shared = "none",
    titles: Sequence[str] = (),
    xlabel: str = "",
    ylabels: Sequence[str] = (),
) -> tuple[Figure, np.ndarray]:
    """A figure of rows x columns panels, each `panel_in` inches, and its axes (rows, columns).

    `titles`: of the panels, row by row; `xlabel`: below each column; `ylabels`: one for each row, left of it.
    """
    figure = Figure(figsize=(max(panel_in[0] * columns, 5.0), panel_in[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    for axes, title in zip(grid.flat, titles, strict=False):
        axes.set_title(title)
    for axes in grid[-1]:
        axes.set_xlabel(xlabel)
    for axes, label in zip(grid[:, 0], ylabels, strict=False):
        axes.set_ylabel(label)
    return figure, grid


def line_panels(shown: Sequence[Line], *, ylabel: str, sharey: Shared = "all") -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each line against offered load, PANELS_A_ROW to a row; and the panels' axes."""
    columns = min(len(shown), PANELS_A_ROW)
    rows = -(-len(shown) // columns)
    figure, grid = page(rows, columns, panel_in=(2.5, 2.5), sharey=sharey, ylabels=[ylabel] * rows)
    for axes, line in zip(grid.flat, shown, strict=False):
        axes.set_title(textwrap.fill(line.label, PANEL_LETTERS), color=line.colour, fontweight="bold")
        axes.set_xlabel(named("offered_rps"))
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    return figure, list(grid.flat[: len(shown)])


def named(column: str) -> str:
    """The axis label of a column of summary.csv."""
    return f"{column} ({METRICS[column].unit})"


def rate_axis(axes: Axes, rates: Sequence[float]) -> None:
    """A load on a log axis, with ticks at the rates, or numbers of users, measured: not those too close to be read."""
    ticks = sorted(set(rates))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_spread(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(PLAIN)
    axes.set_xlim(ticks[0] / 1.25, ticks[-1] * 1.25)


def _spread(ticks: Sequence[float]) -> list[float]:
    """From the last tick down, those at least a CLOSEST_TICKS-th of the log axis below the tick chosen before."""
    gap = (ticks[-1] / ticks[0]) ** (1 / CLOSEST_TICKS)
    chosen = [ticks[-1]]
    for tick in reversed(ticks[:-1]):
        if tick * gap <= chosen[-1] * 1.001:
            chosen.append(tick)
    return chosen


def log_axis(axes: Axes, which: Literal["x", "y"] = "y", *, form: Formatter = PLAIN) -> None:
    """A log axis: the fewer decades, the more labels. `form`: of the labels."""
    shared = axes.get_shared_x_axes() if which == "x" else axes.get_shared_y_axes()
    boxes = [sibling.dataLim for sibling in shared.get_siblings(axes)]
    if not any(np.isfinite(box.minposx if which == "x" else box.minposy) for box in boxes):
        return  # it is empty: all points failed
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=next(subs for least, subs in LOG_LABELS.items() if high / low >= least)))
    axis.set_major_formatter(form)
    axis.set_minor_formatter(NullFormatter())


def arrivals_title(arrival: str) -> str:
    """An arrival process as a title: `gamma:cv=3` is "Gamma arrivals, cv 3"; of a path, the file's name."""
    name, _, parameters = arrival.partition(":")
    pairs = [pair.split("=", 1) for pair in parameters.split(",") if "=" in pair]
    parameters_shown = [value.rsplit("/", 1)[-1] if key == "path" else f"{key} {value}" for key, value in pairs]
    return ", ".join([f"{name.replace('_', '-').capitalize()} arrivals", *parameters_shown])


def finish(
    figure: Figure, study: Study, title: str, *, handles: Sequence[Artist] = (), notes: Sequence[str] = ()
) -> Figure:
    """As `lay_out`; the caption ends with the study, the machine, and the number of repeats."""
    seeds = sorted(study.summary["seed"].unique())
    repeated = f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"
    is_simulated = (study.summary["source"] == SIMULATED).all()
    how = "Simulated from measurements on" if is_simulated else "Measured on"
    machines = " and on ".join(study.hardware) or "unnamed hardware"
    origin = f"Study {study.name}, {repeated}. {how} {machines}."
    return lay_out(figure, title, handles=handles, caption=[*notes, origin])


def lay_out(figure: Figure, title: str, *, handles: Sequence[Artist] = (), caption: Sequence[str] = ()) -> Figure:
    """Add the title, the legend below it and the caption, and enlarge the page by their heights."""
    width, height = figure.get_size_inches()
    columns = _legend_columns(handles, width)
    header = MARGIN_IN + TITLE_IN + ROW_IN * (-(-len(handles) // columns) if handles else 0)
    text = textwrap.fill(" ".join(filter(None, caption)), int(width * 17.5))
    footer = MARGIN_IN + 0.15 * (text.count("\n") + 1)
    full = height + header + footer
    figure.set_size_inches(width, full)
    figure.get_layout_engine().set(rect=(0, footer / full, 1, height / full))  # type: ignore[union-attr, call-arg]
    left = MARGIN_IN / width
    figure.text(left, 1 - MARGIN_IN / full, title, va="top", fontsize=10, fontweight="bold", gid="title")
    figure.text(left, MARGIN_IN / 2 / full, text, va="bottom", fontsize=7, color=GREY, linespacing=1.25, gid="caption")
    if handles:
        spacing = {"borderpad": 0, "borderaxespad": 0, "labelspacing": 0.35, "columnspacing": 1.4, "handlelength": 3.2}
        anchor = (left, 1 - (MARGIN_IN + TITLE_IN) / full)
        figure.legend(handles=list(handles), ncols=columns, loc="upper left", bbox_to_anchor=anchor, **spacing)
    return figure


def _legend_columns(handles: Sequence[Artist], width_in: float) -> int:
    """The most columns whose widest entries fit side by side; matplotlib fills a legend column by column."""
    lengths = [len(str(handle.get_label())) for handle in handles]
    for columns in range(len(lengths), 1, -1):
        widest = [max(part) for part in np.array_split(lengths, columns)]
        if sum(HANDLE_IN + LETTER_IN * length for length in widest) <= width_in:
            return columns
    return 1
