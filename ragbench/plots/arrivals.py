"""The same load, evenly spaced and at random: what burstiness alone costs each design."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ragbench.plots.lines import MARKERS, Line, left_out, one_each, repeats, tint
from ragbench.plots.study import Study, open_loop
from ragbench.plots.style import GREY, arrivals_told, finish, log_axis, named, panels, styled, wrapped

COLUMN = "latency_p95_s"
WIDTH = 0.5  # of a rate's place, over which its arrival processes are spread
PALEST = 0.55


@styled
@open_loop
def arrivals(study: Study) -> Figure | None:
    """p95 latency at each rate, a mark per arrival process, a panel per design; None with one arrival process.

    With exactly two processes each valid pair is headed by the second's latency over the first's.
    """
    shown = [line for line in one_each(study) if line.points[COLUMN].notna().any()]
    if len(study.arrivals) < 2 or not shown:
        return None
    figure, grid = panels(len(shown))
    for axes, line in zip(grid.flat, shown, strict=False):
        _marks(axes, line, study.arrivals)
        axes.set_title(wrapped(line.label), color=line.colour, fontweight="bold")
        axes.set_xlabel(named("offered_rps"))
    log_axis(grid.flat[0])
    grid.flat[0].set_ylim(top=grid.flat[0].get_ylim()[1] * 1.6)
    for axes in grid[:, 0]:
        axes.set_ylabel(named(COLUMN))
    handles = [_handle(arrivals_told(name), **look) for name, look in _looks(study.arrivals, GREY).items()]
    if any((line.points["verdict"] != "valid").any() for line in shown):
        handles.append(_handle("hollow: not valid", marker="o", color=GREY, markerfacecolor="white"))
    return finish(figure, study, _title(study), handles=handles, notes=_notes(study, shown))


def _title(study: Study) -> str:
    names = [name.partition(":")[0].replace("_", "-") for name in study.arrivals]
    return f"{names[0].capitalize()} against {' and '.join(name.capitalize() for name in names[1:])} arrivals"


def _notes(study: Study, shown: list[Line]) -> list[str]:
    first, last = study.arrivals[0], study.arrivals[-1]
    ratio = f"Above a pair: {last} over {first}, where both are valid." if len(study.arrivals) == 2 else ""
    bars = "Bars: range over seeds." if study.summary["seed"].nunique() > 1 else "Bars: 95% intervals within the run."
    return [ratio, bars, left_out(study, shown)]


def _looks(processes: list[str], colour: str | tuple[float, ...]) -> dict[str, dict[str, Any]]:
    """A marker and a shade per arrival process, paler first."""
    whites = np.linspace(PALEST, 0, len(processes))
    return {
        name: {"marker": MARKERS[n % len(MARKERS)], "color": tint(colour, white)}
        for n, (name, white) in enumerate(zip(processes, whites, strict=True))
    }


def _marks(axes: Axes, line: Line, processes: list[str]) -> None:
    rates = sorted(line.points["offered_rps"].unique())
    offsets = np.linspace(-WIDTH / 2, WIDTH / 2, len(processes))
    joined = {name: repeats(line.at(name), COLUMN).reindex(rates) for name in processes}
    for (name, look), offset in zip(_looks(processes, line.colour).items(), offsets, strict=True):
        points = joined[name]
        places = np.arange(len(rates)) + offset
        valid = points["is_valid"].eq(True).to_numpy()
        axes.vlines(places, points["low"], points["high"], color=look["color"], linewidth=1.2)
        for which, face, gid in ((valid, look["color"], "valid"), (~valid, "white", "not valid")):
            mean = points["mean"][which]
            axes.plot(places[which], mean, linestyle="", markersize=6, markerfacecolor=face, gid=gid, **look)
    if len(processes) == 2:
        _ratios(axes, *joined.values())
    axes.set_xticks(np.arange(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set_xlim(-0.6, len(rates) - 0.4)
    axes.grid(visible=False, axis="x")


def _ratios(axes: Axes, first: pd.DataFrame, second: pd.DataFrame) -> None:
    """Head each pair of marks with the ratio of their means; a queue that only grew has none worth telling."""
    ratios = (second["mean"] / first["mean"]).where(first["is_valid"].eq(True) & second["is_valid"].eq(True))
    tops = np.fmax(first["high"], second["high"])
    for place, (ratio, top) in enumerate(zip(ratios, tops, strict=True)):
        if not pd.isna(ratio):
            told = f"\N{MULTIPLICATION SIGN}{ratio:.1f}"
            axes.annotate(told, (place, top), (0, 6), textcoords="offset points", ha="center", fontsize=7)


def _handle(label: str, **look: Any) -> Line2D:
    return Line2D([], [], linestyle="", markersize=6, label=label, **look)
