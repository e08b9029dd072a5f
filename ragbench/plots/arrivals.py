"""The same load, evenly spaced and at random: what burstiness alone costs each design."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ragbench.plots.lines import Line, left_out, one_each, repeats, tint
from ragbench.plots.study import Study
from ragbench.plots.style import GREY, finish, log_axis, named, panels, styled

COLUMN = "latency_p95_s"


@styled
def arrivals(study: Study) -> Figure | None:
    """p95 latency at each rate, a bar per arrival process, a panel per design; None with one arrival process.

    With exactly two processes each valid pair is headed by the second's latency over the first's.
    """
    shown = [line for line in one_each(study) if line.points[COLUMN].notna().any()]
    if len(study.arrivals) < 2 or not shown:
        return None
    figure, grid = panels(len(shown))
    for axes, line in zip(grid.flat, shown, strict=False):
        _bars(axes, line, study.arrivals)
        axes.set_title(line.label, color=line.colour, fontweight="bold")
        axes.set_xlabel(named("offered_rps"))
    log_axis(grid.flat[0])
    grid.flat[0].set_ylim(top=grid.flat[0].get_ylim()[1] * 1.6)
    for axes in grid[:, 0]:
        axes.set_ylabel(named(COLUMN))
    whites = np.linspace(0.65, 0, len(study.arrivals))
    handles = [
        Patch(facecolor=tint(GREY, w), edgecolor=GREY, label=a) for w, a in zip(whites, study.arrivals, strict=True)
    ]
    if any((line.points["verdict"] != "valid").any() for line in shown):
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch="////", label="hatched: not valid"))
    return finish(figure, study, _title(study), handles=handles, notes=_notes(study, shown))


def _title(study: Study) -> str:
    first, *rest = study.arrivals
    return f"{first.capitalize()} against {' and '.join(name.capitalize() for name in rest)} arrivals"


def _notes(study: Study, shown: list[Line]) -> list[str]:
    ratio = (
        f"Above a pair: {study.arrivals[-1]} over {study.arrivals[0]}, where both are valid."
        if len(study.arrivals) == 2
        else ""
    )
    dots = "Dots: single seeds." if study.summary["seed"].nunique() > 1 else ""
    return [ratio, dots, left_out(study, shown)]


def _bars(axes: Axes, line: Line, processes: list[str]) -> None:
    rates = sorted(line.points["offered_rps"].unique())
    width = 0.8 / len(processes)
    pair = []
    for index, (arrival, white) in enumerate(zip(processes, np.linspace(0.65, 0, len(processes)), strict=True)):
        joined = repeats(line.at(arrival), COLUMN).reindex(rates)
        places = np.arange(len(rates)) + (index - (len(processes) - 1) / 2) * width
        colour = tint(line.colour, white)
        valid = joined["is_valid"].eq(True).to_numpy()
        axes.bar(places[valid], joined["mean"][valid], width, color=colour, edgecolor=line.colour, gid="valid")
        axes.bar(
            places[~valid], joined["mean"][~valid], width, color=tint(colour, 0.6), edgecolor=line.colour, hatch="////"
        )
        pair.append(joined)
        for place, rate in zip(places, rates, strict=True):
            values = line.at(arrival, rate)[COLUMN].dropna()
            if len(values) > 1:
                axes.plot(np.full(len(values), place), values, ".", color="black", markersize=2.5)
    if len(processes) == 2:
        _ratios(axes, *pair)
    axes.set_xticks(np.arange(len(rates)), [f"{rate:g}" for rate in rates])
    axes.grid(visible=False, axis="x")


def _ratios(axes: Axes, first: pd.DataFrame, second: pd.DataFrame) -> None:
    """Head each pair of bars with the ratio of their means; a queue that only grew has none worth telling."""
    ratios = (second["mean"] / first["mean"]).where(first["is_valid"].eq(True) & second["is_valid"].eq(True))
    tops = np.fmax(first["high"], second["high"])
    for place, (ratio, top) in enumerate(zip(ratios, tops, strict=True)):
        if not pd.isna(ratio):
            told = f"\N{MULTIPLICATION SIGN}{ratio:.1f}"
            axes.annotate(told, (place, top), (0, 3), textcoords="offset points", ha="center", fontsize=7)
