"""Every probe of a capacity search as latency and throughput against rate, with the final bracket."""

import re
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ragbench.capacity.table import CAPACITY, FILE, Capacity
from ragbench.plots import save
from ragbench.plots.lines import Line, lines
from ragbench.plots.marks import draw_due, draw_line, due_handle, line_handles, mark_handles
from ragbench.plots.style import GREY, arrivals_title, finish, log_axis, named, page, rate_axis, styled
from ragbench.results.folder import Study, load_study
from ragbench.results.paths import StudyPaths
from ragbench.results.records import RecordError
from ragbench.results.slo import PERCENTILES

THROUGHPUT = "throughput_rps"


def load_capacity(folder: Path) -> list[Capacity]:
    """The rows of capacity.csv of a results folder, one or more. Raises RecordError."""
    path = folder / FILE
    if not path.is_file():
        raise RecordError(f"there is no {path}; `ragbench capacity` writes it")
    rows = CAPACITY.read(path)
    if not rows:
        raise RecordError(f"{path} has no row")
    return rows


@styled
def capacity(study: Study) -> Figure | None:
    """Latency under the SLO (above) and throughput (below), a column per design; None without capacity.csv.

    The shaded band is the bracket; the dashed line above is the SLO. Of several SLOs or arrivals, that
    of the last row is shown.
    """
    if not (study.folder / FILE).is_file():
        return None
    rows = load_capacity(study.folder)
    arrival, slo = rows[-1].arrival, rows[-1].slo
    latest = {row.configuration: row for row in rows if (row.arrival, row.slo) == (arrival, slo)}
    searched = [(line, latest.get(line.points["configuration"].iloc[0])) for line in lines(study)]
    shown = [(line, row) for line, row in searched if row is not None]
    if not shown:
        return None
    column, limit_s = _limited(slo)
    figure, grid = page(2, len(shown), panel_in=(max(3.2, 5.6 / len(shown)), 2.1), sharex="col", sharey="row")
    for (top, bottom), (line, row) in zip(grid.T, shown, strict=True):
        _draw(top, line, arrival, column, row)
        _draw(bottom, line, arrival, THROUGHPUT, row)
        resolved = "" if row.resolved else ", not resolved"
        top.set_title(f"{line.label}: {f'{row.capacity_rps:g}/s{resolved}' if row.capacity_rps else 'not found'}")
        draw_due(bottom, line.at(arrival))
        bottom.set_xlabel(named("offered_rps"))
        if limit_s is not None:
            top.axhline(limit_s, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1, gid="promise")
    for axes, drawn in zip(grid[:, 0], (column, THROUGHPUT), strict=True):
        log_axis(axes)
        axes.set_ylabel(named(drawn).replace(" (", "\n("))
    band = Patch(facecolor=GREY, alpha=0.25, label="the bracket: the capacity lies in it")
    drawn_lines = [line for line, _ in shown]
    handles = [*line_handles(drawn_lines), band, due_handle(study.summary), *mark_handles(drawn_lines, column)]
    notes = [f"{arrivals_title(arrival)}; SLO, dashed above: {slo}."]
    return finish(figure, study, "Capacity", handles=handles, notes=notes)


def _draw(axes: Axes, line: Line, arrival: str, column: str, row: Capacity) -> None:
    draw_line(axes, line, arrival, column)
    # Bisection puts its rates close together: where it ended is in the title.
    measured = line.at(arrival)["offered_rps"]
    rate_axis(axes, [rate for rate in measured if rate in (measured.min(), measured.max()) or float(rate).is_integer()])
    if row.low_rps and row.high_rps:
        axes.axvspan(row.low_rps, row.high_rps, color=GREY, alpha=0.25, linewidth=0, zorder=0, gid="bracket")


def _limited(slo: str) -> tuple[str, float | None]:
    """The latency column that the SLO limits, and its limit; p95 and None where it limits no percentile or mean."""
    for part in slo.split(", "):
        name, _, limit = part.partition(" <= ")
        if (name in PERCENTILES or name == "latency_mean_s") and re.fullmatch(r"[0-9.]+(e[+-]?[0-9]+)?", limit):
            return name, float(limit)
    return "latency_p95_s", None


def save_capacity(folder: Path) -> list[Path]:
    """Write the figure into the folder's `figures/`, if there is anything to show. -> its files."""
    study = load_study(folder)
    return save(study, {"capacity": capacity}, StudyPaths(study.folder).figures)
