"""p95 latency under each arrival process at the same rates: what burstiness alone costs each design."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ragbench.plots.lines import MARKERS, Line, left_out, one_each, runs, tint
from ragbench.plots.marks import by_validity, edge_crosses, hollow_handles, mark_handle, mark_shares
from ragbench.plots.style import GREY, arrivals_title, finish, line_panels, log_axis, named, styled
from ragbench.results.folder import Study, open_loop
from ragbench.results.metrics import bound

COLUMN = "latency_p95_s"
ESTIMATE = [bound(COLUMN, "low"), COLUMN, bound(COLUMN, "high")]
WIDTH = 0.5  # of a rate's place, over which its arrival processes are spread
PALEST = 0.55


@styled
@open_loop
def arrivals(study: Study) -> Figure | None:
    """p95 latency at each rate, a mark per arrival process, a panel per design; None with one arrival process.

    With exactly two processes, the ratio of the second's latency to the first's stands above each pair of marks, with
    its interval, where both are valid and have intervals.
    """
    shown = [line for line in one_each(study) if line.points[COLUMN].notna().any()]
    if len(study.arrivals) < 2 or not shown:
        return None
    figure, panels = line_panels(shown, ylabel=named(COLUMN))
    for axes, line in zip(panels, shown, strict=True):
        _marks(axes, line, study.arrivals)
    log_axis(panels[0])
    panels[0].set_ylim(top=panels[0].get_ylim()[1] * 2)
    points = pd.concat([line.points for line in shown])
    looks = {arrivals_title(name): look for name, look in _looks(study.arrivals, GREY).items()}
    handles: list[Artist] = [
        Line2D([], [], linestyle="", markersize=6, label=title, **look) for title, look in looks.items()
    ]
    handles += hollow_handles(points, markersize=6)
    if points[COLUMN].isna().any():
        handles.append(mark_handle("x", "at the edge: no value, too few were answered", markersize=6))
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
    """A marker and a shade per arrival process, palest first."""
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
        _annotate_ratios(axes, line, processes, rates)
    axes.set_xticks(np.arange(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set_xlim(-0.6, len(rates) - 0.4)
    axes.grid(visible=False, axis="x")


def _annotate_ratios(axes: Axes, line: Line, processes: list[str], rates: list[float]) -> None:
    """Write the ratio and its interval above each pair of marks, where all runs of both are valid with an interval."""
    for place, rate in enumerate(rates):
        pair = [line.at(name, rate).drop_duplicates("seed", keep="last").set_index("seed") for name in processes]
        seeds = sorted(pair[0].index.intersection(pair[1].index))
        if not seeds or not all(_is_known(points).all() for points in pair):
            continue
        low, value, high = ratio(*(points.loc[seeds, ESTIMATE].to_numpy(dtype=float) for points in pair))
        top = max(points[ESTIMATE[-1]].max() for points in pair)
        text = f"\N{MULTIPLICATION SIGN}{value:.2g}\n{low:.2g} to {high:.2g}"
        axes.annotate(text, (place, top), (0, 5), textcoords="offset points", ha="center", fontsize=6, gid="ratio")


def _is_known(points: pd.DataFrame) -> "pd.Series[bool]":
    """Which runs are valid and have an interval above 0."""
    low, _, high = (points[column] for column in ESTIMATE)
    return (points["verdict"] == "valid") & (low > 0) & (high >= low)


def ratio(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float, float]:
    """Low end, value and high end of second over first, (n, 3) each: a pair of independent runs a row, above 0.

    The value is the geometric mean of the ratios. For its 95% interval the distances from each logarithm to the ends of
    its interval are added as squares: MOVER, Zou and Donner, Construction of confidence limits about effect measures,
    Statistics in Medicine 27 (2008).
    """
    (low_1, value_1, high_1), (low_2, value_2, high_2) = np.log(first).T, np.log(second).T
    middle = np.mean(value_2 - value_1)
    below = np.hypot(np.maximum(value_2 - low_2, 0), np.maximum(high_1 - value_1, 0))
    above = np.hypot(np.maximum(high_2 - value_2, 0), np.maximum(value_1 - low_1, 0))
    spread_low, spread_high = (np.sqrt(np.sum(ends**2)) / len(first) for ends in (below, above))
    low, value, high = np.exp([middle - spread_low, middle, middle + spread_high]).tolist()
    return low, value, high
