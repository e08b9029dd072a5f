"""A comparison as a picture: the difference of each figure at each load, with the interval for all at once."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from ragbench.compare.cells import Cell, Comparison
from ragbench.compare.sides import COMPARED, LATENCIES
from ragbench.plots.lines import DESIGN_COLOURS, OTHER_COLOURS
from ragbench.plots.style import GREY, finish, page, styled
from ragbench.results.folder import Study
from ragbench.results.paths import StudyPaths

COLOURS = (*DESIGN_COLOURS.values(), *OTHER_COLOURS)
SPREAD = 0.5  # of the room between two loads, over which what is drawn at one load is spread
FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 1, 1.1, 1.25, 2, 5, 10, 20, 50, 100)


def differences(comparison: Comparison) -> Figure | None:
    """One panel a figure, loads from left to right, b against a in percent; filled marks: shown to differ.

    None where no cell could be compared.
    """
    return None if not comparison.compared else _figure(_study(comparison), comparison)


def _figure(study: Study, comparison: Comparison) -> Figure | None:
    def draw(_: Study) -> Figure:
        figure, (row,) = page(1, len(COMPARED), panel_in=(2.2, 2.6))
        series = list(dict.fromkeys(_named(cell) for cell in comparison.cells))
        for axes, metric in zip(row, COMPARED, strict=True):
            _panel(axes, comparison, metric, series)
        row[0].set_ylabel("difference from the first side (%)")
        return finish(figure, study, _title(comparison), handles=_handles(comparison, series), notes=_notes(comparison))

    return styled(draw)(study)


def _panel(axes: Axes, comparison: Comparison, metric: str, series: list[str]) -> None:
    cells = [cell for cell in comparison.cells if cell.metric == metric]
    levels = sorted({cell.pair.level for cell in cells})
    axes.axhline(0, color=GREY, linewidth=0.9, zorder=1)
    for cell in cells:
        number = series.index(_named(cell))
        place = levels.index(cell.pair.level) + SPREAD * ((number + 0.5) / len(series) - 0.5)
        _mark(axes, comparison, cell, place, COLOURS[number % len(COLOURS)])
    axes.set_title(metric)
    axes.xaxis.set_major_locator(FixedLocator(range(len(levels))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([level.label.split(" ", 1)[1] for level in levels])
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.grid(visible=False, axis="x")
    _percent_axis(axes)


def _mark(axes: Axes, comparison: Comparison, cell: Cell, place: float, colour: str) -> None:
    found = comparison.interval(cell)
    if cell.difference is None or found is None:
        transform = axes.get_xaxis_transform()
        axes.plot(place, 0.0, "x", color=colour, transform=transform, clip_on=False, zorder=5, gid="not compared")
        return
    ends = [np.log1p(end / 100) for end in (found.low, found.high)]
    axes.vlines(place, *ends, color=colour, linewidth=1.2, zorder=3, gid="interval")
    is_shown = comparison.is_shown(cell)
    fill = colour if is_shown else "white"
    gid = "shown" if is_shown else "not shown"
    axes.plot(place, cell.difference.log_ratio, "o", color=colour, markerfacecolor=fill, zorder=4, gid=gid)


def _percent_axis(axes: Axes) -> None:
    """Logarithms of ratios, labelled as percentages; at least from -5% to +5%, so that a trifle looks like one."""
    low, high = axes.get_ylim()
    low, high = min(low, np.log(0.95)), max(high, np.log(1.05))
    axes.set_ylim(low, high)
    ticks = [factor for factor in FACTORS if low <= np.log(factor) <= high]
    if len(ticks) < 3:
        ticks = [factor for factor in (0.9, 0.95, 0.98, 1, 1.02, 1.05, 1.1) if low <= np.log(factor) <= high]
    axes.yaxis.set_major_locator(FixedLocator([float(np.log(factor)) for factor in ticks]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticklabels([f"{100 * (factor - 1):+.0f}" if factor != 1 else "0" for factor in ticks])


def _named(cell: Cell) -> str:
    return f"{cell.pair.b} against {cell.pair.a}, {cell.pair.arrival}"


def _title(comparison: Comparison) -> str:
    sides = {(cell.pair.a, cell.pair.b) for cell in comparison.cells}
    if len(sides) > 1:
        return "The second side against the first"
    ((a, b),) = sides
    return f"{b} against {a}"


def _handles(comparison: Comparison, series: list[str]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=COLOURS[number % len(COLOURS)], marker="o", linestyle="-", label=name)
        for number, name in enumerate(series)
    ]
    marks = {"o": "hollow: no difference shown", "x": "at the foot: not compared (not valid, or too short)"}
    kinds = {
        "o": any(not comparison.is_shown(cell) for cell in comparison.compared),
        "x": len(comparison.compared) < len(comparison.cells),
    }
    for marker, label in marks.items():
        if kinds[marker]:
            handles.append(
                Line2D([], [], linestyle="", marker=marker, color=GREY, markerfacecolor="white", label=label)
            )
    return handles


def _notes(comparison: Comparison) -> list[str]:
    lower = ", ".join(name.removeprefix("latency_").removesuffix("_s") for name in LATENCIES)
    return [
        f"Below 0 is better for {lower}, above 0 for the rates. All {len(comparison.compared)} intervals hold at once "
        "with 95% confidence."
    ]


def _study(comparison: Comparison) -> Study:
    """What the caption tells of: the runs of both sides as one study."""
    runs = [run for cell in comparison.cells for both in cell.pair.runs for run in both]
    columns = ("seed", "source", "hardware", "verdict")
    summary = pd.DataFrame([{name: getattr(run, name) for name in columns} for run in runs])
    folders = dict.fromkeys(run.paths.folder.parent for run in runs)
    return Study(" and ".join(folder.name for folder in folders), summary, StudyPaths(next(iter(folders))).root)
