"""A comparison as a picture: the difference of each figure at each load, with the interval for all at once."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ragbench.compare.cells import Cell, Comparison
from ragbench.compare.pairs import Pair
from ragbench.compare.sides import COMPARED, LATENCIES
from ragbench.plots.lines import DESIGN_COLOURS, OTHER_COLOURS
from ragbench.plots.style import GREY, finish, page, styled
from ragbench.results.folder import Study
from ragbench.results.paths import StudyPaths

COLOURS = (*DESIGN_COLOURS.values(), *OTHER_COLOURS)
SPREAD = 0.5  # of the room between two loads, over which what is drawn at one load is spread
FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 1, 1.1, 1.25, 2, 5, 10, 20, 50, 100)
SMALL = (0.9, 0.95, 0.98, 1, 1.02, 1.05, 1.1)


@styled
def differences(comparison: Comparison) -> Figure | None:
    """One panel a figure, loads from left to right, b against a in percent; filled marks: shown to differ.

    None where no cell could be compared.
    """
    compared = comparison.compared
    if not compared:
        return None
    figure, (row,) = page(1, len(COMPARED), panel_in=(2.2, 2.6))
    names = dict.fromkeys(_named(pair) for pair in comparison.pairs)
    colours = dict(zip(names, itertools.cycle(COLOURS)))
    for axes, metric in zip(row, COMPARED, strict=True):
        _panel(axes, [cell for cell in comparison.cells if cell.metric == metric], colours)
        axes.set_title(metric)
    row[0].set_ylabel("difference from the first side (%)")
    handles = [Line2D([], [], color=colour, marker="o", label=name) for name, colour in colours.items()]
    mark: dict[str, Any] = {"linestyle": "", "color": GREY, "markerfacecolor": "white"}
    if not all(cell.is_shown for cell in compared):
        handles.append(Line2D([], [], marker="o", label="hollow: no difference shown", **mark))
    if len(compared) < len(comparison.cells):
        label = "at the foot: not compared (not valid, or too short)"
        handles.append(Line2D([], [], marker="x", label=label, **mark))
    lower = ", ".join(name.removeprefix("latency_").removesuffix("_s") for name in LATENCIES)
    note = (
        f"Below 0 is better for {lower}, above 0 for the rates. All {len(compared)} intervals hold at once "
        "with 95% confidence."
    )
    sides = {f"{pair.b} against {pair.a}" for pair in comparison.pairs}
    title = sides.pop() if len(sides) == 1 else "The second side against the first"
    return finish(figure, _study(comparison), title, handles=handles, notes=[note])


def _panel(axes: Axes, cells: Sequence[Cell], colours: Mapping[str, str]) -> None:
    levels = sorted({cell.pair.level for cell in cells})
    axes.axhline(0, color=GREY, linewidth=0.9, zorder=1)
    for cell in cells:
        name = _named(cell.pair)
        offset = SPREAD * ((list(colours).index(name) + 0.5) / len(colours) - 0.5)
        _mark(axes, cell, levels.index(cell.pair.level) + offset, colours[name])
    axes.set_xticks(range(len(levels)), [level.label.split(" ", 1)[1] for level in levels])
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.grid(visible=False, axis="x")
    _percent_axis(axes)


def _mark(axes: Axes, cell: Cell, place: float, colour: str) -> None:
    if cell.difference is None:
        transform = axes.get_xaxis_transform()
        axes.plot(place, 0.0, "x", color=colour, transform=transform, clip_on=False, zorder=5, gid="not compared")
        return
    interval = cell.difference.interval
    ends = np.log1p([interval.low / 100, interval.high / 100])
    axes.vlines(place, *ends, color=colour, linewidth=1.2, zorder=3, gid="interval")
    gid, fill = ("shown", colour) if cell.is_shown else ("not shown", "white")
    axes.plot(place, cell.difference.log_ratio, "o", color=colour, markerfacecolor=fill, zorder=4, gid=gid)


def _percent_axis(axes: Axes) -> None:
    """Logarithms of ratios, labelled as percentages; at least from -5% to +5%, so that a trifle looks like one."""
    low, high = axes.get_ylim()
    low, high = min(low, np.log(0.95)), max(high, np.log(1.05))
    axes.set_ylim(low, high)
    coarse, fine = ([factor for factor in factors if low <= np.log(factor) <= high] for factors in (FACTORS, SMALL))
    ticks = coarse if len(coarse) >= 3 else fine
    axes.set_yticks(np.log(ticks), [f"{100 * (factor - 1):+.0f}" if factor != 1 else "0" for factor in ticks])


def _named(pair: Pair) -> str:
    return f"{pair.b} against {pair.a}, {pair.arrival}"


def _study(comparison: Comparison) -> Study:
    """What the caption tells of: the runs of both sides as one study."""
    runs = [run for pair in comparison.pairs for both in pair.runs for run in both]
    columns = ("seed", "source", "hardware", "verdict")
    summary = pd.DataFrame([{name: getattr(run, name) for name in columns} for run in runs])
    folders = dict.fromkeys(run.paths.folder.parent for run in runs)
    return Study(" and ".join(folder.name for folder in folders), summary, StudyPaths(next(iter(folders))).root)
