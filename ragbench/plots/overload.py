"""Overload: goodput, throughput and refusals against an offered load beyond capacity."""

from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ragbench.plots.lines import Line, answered_share, left_out, one_each, runs
from ragbench.plots.marks import by_validity, draw_due, due_handle, hollow_handles, mark_shares
from ragbench.plots.style import arrivals_title, finish, line_panels, styled
from ragbench.results.folder import Study, open_loop
from ragbench.statistics.verdicts import UNANSWERED_SHARE

OVERLOADED = ("failed", "failing", "saturated", "shedding")
# Light to dark: told apart without colour.
LOOKS: dict[str, dict[str, Any]] = {
    "throughput_rps": {"marker": "s", "markersize": 7, "color": "#5fa8d3", "label": "throughput_rps: answered"},
    "goodput_rps": {"marker": "o", "markersize": 4, "color": "#1b4965", "label": "goodput_rps: within the SLO"},
    "rejected_rps": {"marker": "^", "markersize": 5, "color": "#c1666b", "label": "rejected_rps: refused at once"},
}


@styled
@open_loop
def overload(study: Study) -> Figure | None:
    """Goodput, answers and refusals per second against offered load, a panel per design that was overloaded.

    At the study's main arrival process. `rejected_rps` is `rejected` over `duration_s`. None where no design was
    overloaded.
    """
    arrival = study.main_arrival
    shown = [line for line in one_each(study) if is_overloaded(line.at(arrival)).any()]
    if not shown:
        return None
    figure, panels = line_panels(shown, ylabel="requests per second (1/s)", sharey="none")
    for axes, line in zip(panels, shown, strict=True):
        _draw(axes, line, arrival)
    notes = [f"{arrivals_title(arrival)}; a mark is a run.", left_out(study, shown)]
    return finish(figure, study, "Under more load than is carried", handles=_handles(study, shown), notes=notes)


def is_overloaded(points: pd.DataFrame) -> pd.Series:
    """Which points were offered more than was answered: by their verdict, or by the share that was answered."""
    return points["verdict"].isin(OVERLOADED) | (answered_share(points) < 1 - UNANSWERED_SHARE)


def _draw(axes: Axes, line: Line, arrival: str) -> None:
    points = line.at(arrival)
    points = points.assign(rejected_rps=points["rejected"] / points["duration_s"])
    draw_due(axes, points)
    for column, look in LOOKS.items():
        table = runs(points, column)
        for _, own in table.groupby("seed"):
            axes.plot(own["load"], own["value"], color=look["color"], linewidth=1.2, zorder=3)
        for gid, face, rows in by_validity(table, look["color"]):
            looks = {**look, "label": line.label, "markerfacecolor": face, "linestyle": "", "clip_on": False}
            axes.plot(rows["load"], rows["value"], **looks, zorder=4, gid=f"{column}, {gid}")
    mark_shares(axes, runs(points, "throughput_rps"), colour=LOOKS["throughput_rps"]["color"])
    axes.set(xlim=(0, points["offered_rps"].max() * 1.1), ylim=(0, None))


def _handles(study: Study, shown: list[Line]) -> list[Artist]:
    points = pd.concat([line.points for line in shown])
    curves = [Line2D([], [], linewidth=1.2, **look) for look in LOOKS.values()]
    return [*curves, due_handle(study.summary), *hollow_handles(points)]
