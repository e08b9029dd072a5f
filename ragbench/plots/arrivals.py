"""The same load, evenly spaced and at random: what burstiness alone costs each design."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ragbench.plots.lines import MARKERS, Line, left_out, one_each, runs, tint
from ragbench.plots.marks import by_validity, edge_crosses, hollow, mark_shares
from ragbench.plots.ratios import Estimate, ratio
from ragbench.plots.style import GREY, arrivals_title, finish, line_panels, log_axis, named, styled
from ragbench.results.folder import Study, open_loop
from ragbench.results.metrics import bound

COLUMN = "latency_p95_s"
WIDTH = 0.5  # of a rate's place, over which its arrival processes are spread
PALEST = 0.55


@styled
@open_loop
def arrivals(study: Study) -> Figure | None:
    """p95 latency at each rate, a mark per arrival process, a panel per design; None with one arrival process.

    With exactly two processes a pair that is valid is headed by the second's latency over the first's, with its
    interval; a pair without intervals has no ratio.
    """
    shown = [line for line in one_each(study) if line.points[COLUMN].notna().any()]
    if len(study.arrivals) < 2 or not shown:
        return None
    figure, each_axes = line_panels(shown, ylabel=named(COLUMN))
    for axes, line in zip(each_axes, shown, strict=True):
        _marks(axes, line, study.arrivals)
    log_axis(each_axes[0])
    each_axes[0].set_ylim(top=each_axes[0].get_ylim()[1] * 2)
    handles = [_handle(arrivals_title(name), **look) for name, look in _looks(study.arrivals, GREY).items()]
    points = pd.concat([line.points for line in shown])
    if (points["verdict"] != "valid").any():
        handles.append(_handle(hollow(points), marker="o", color=GREY, markerfacecolor="white"))
    if any(line.points[COLUMN].isna().any() for line in shown):
        handles.append(_handle("at the edge: no value, too few were answered", marker="x", color=GREY))
    return finish(figure, study, _title(study), handles=handles, notes=_notes(study, shown))


def _title(study: Study) -> str:
    names = [name.partition(":")[0].replace("_", "-") for name in study.arrivals]
    return f"{names[0].capitalize()} against {' and '.join(name.capitalize() for name in names[1:])} arrivals"


def _notes(study: Study, shown: list[Line]) -> list[str]:
    first, last = study.arrivals[0], study.arrivals[-1]
    above = f"Above a pair: {last} over {first} with its 95% interval, where both are valid and have one."
    bars = "A mark is a run." if study.summary["seed"].nunique() > 1 else "Bars: 95% intervals within the run."
    return [above if len(study.arrivals) == 2 else "", bars, left_out(study, shown)]


def _looks(processes: list[str], colour: str | tuple[float, ...]) -> dict[str, dict[str, Any]]:
    """A marker and a shade per arrival process, paler first."""
    whites = np.linspace(PALEST, 0, len(processes))
    return {
        name: {"marker": MARKERS[n % len(MARKERS)], "color": tint(colour, white)}
        for n, (name, white) in enumerate(zip(processes, whites, strict=True))
    }


def _marks(axes: Axes, line: Line, processes: list[str]) -> None:
    rates = sorted(float(rate) for rate in line.points["offered_rps"].unique())
    offsets = np.linspace(-WIDTH / 2, WIDTH / 2, len(processes))
    for (name, look), offset in zip(_looks(processes, line.colour).items(), offsets, strict=True):
        shown = runs(line.at(name), COLUMN)
        shown["load"] = [rates.index(load) + offset for load in shown["load"]]
        known = shown.dropna(subset="value")
        axes.vlines(*known[["load", "low", "high"]].dropna().to_numpy().T, color=look["color"], linewidth=1.2)
        for gid, face, rows in by_validity(known, look["color"]):
            axes.plot(rows["load"], rows["value"], linestyle="", markersize=6, markerfacecolor=face, gid=gid, **look)
        edge_crosses(axes, shown[shown["value"].isna()], edge=1.0, colour=look["color"])
        mark_shares(axes, known, colour=look["color"])
    if len(processes) == 2:
        _ratios(axes, line, processes, rates)
    axes.set_xticks(np.arange(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set_xlim(-0.6, len(rates) - 0.4)
    axes.grid(visible=False, axis="x")


def _ratios(axes: Axes, line: Line, processes: list[str], rates: list[float]) -> None:
    """Head each pair of marks with the ratio and its interval, where both sides are valid and have an interval."""
    for place, rate in enumerate(rates):
        both = [estimates(line.at(name, rate)) for name in processes]
        seeds = sorted(both[0].keys() & both[1].keys())
        if not seeds or any(known is None for side in both for known in side.values()):
            continue
        found = ratio(*([known for seed in seeds if (known := side[seed]) is not None] for side in both))
        text = f"\N{MULTIPLICATION SIGN}{found.value:.2g}\n{found.low:.2g} to {found.high:.2g}"
        top = max(known.high for side in both for known in side.values() if known is not None)
        axes.annotate(text, (place, top), (0, 5), textcoords="offset points", ha="center", fontsize=6, gid="ratio")


def estimates(points: pd.DataFrame) -> dict[int, Estimate | None]:
    """The p95 of each seed with its interval; None where the run is not valid or too short for one."""
    columns = [bound(COLUMN, "low"), COLUMN, bound(COLUMN, "high")]
    found: dict[int, Estimate | None] = {}
    for seed, verdict, low, value, high in points[["seed", "verdict", *columns]].itertuples(index=False):
        is_known = verdict == "valid" and low > 0 and high >= low
        found[int(seed)] = Estimate(float(value), float(low), float(high)) if is_known else None
    return found


def _handle(label: str, **look: Any) -> Line2D:
    return Line2D([], [], linestyle="", markersize=6, label=label, **look)
