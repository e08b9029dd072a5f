"""Every probe of a capacity search as latency and throughput against rate, with the final bracket."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ragbench.capacity.table import CAPACITY
from ragbench.plots import save
from ragbench.plots.lines import Line, lines
from ragbench.plots.marks import draw_due, draw_line, due_handle, line_handles, mark_handles
from ragbench.plots.style import GREY, arrivals_title, finish, log_axis, named, page, rate_axis, styled
from ragbench.results.folder import Study, load_study
from ragbench.results.paths import StudyPaths
from ragbench.results.records import RecordError
from ragbench.results.slo import PERCENTILES

FILE = "capacity.csv"
THROUGHPUT = "throughput_rps"


def load_capacity(folder: Path) -> pd.DataFrame:
    """capacity.csv of a results folder: a row per configuration. Raises RecordError where there is none."""
    path = folder / FILE
    if not path.is_file():
        raise RecordError(f"there is no {path}; `ragbench capacity` writes it")
    table = CAPACITY.frame(path)
    if table.empty or table[["configuration", "arrival", "slo", "resolved"]].isna().any(axis=None):
        raise RecordError(f"{path} has no row, or one without configuration, arrival, slo or resolved")
    return table


@styled
def capacity(study: Study) -> Figure | None:
    """Latency under the SLO (above) and throughput (below), a column per design; None without capacity.csv.

    The shaded band is the bracket; the dashed line above is the SLO. Of several SLOs or arrivals, that
    of the last row is shown.
    """
    if not (study.folder / FILE).is_file():
        return None
    brackets = load_capacity(study.folder)
    last = brackets.iloc[-1]
    brackets = brackets[(brackets["slo"] == last["slo"]) & (brackets["arrival"] == last["arrival"])]
    brackets = brackets.drop_duplicates("configuration", keep="last").set_index("configuration")
    shown = [line for line in lines(study) if _bracket(line, brackets) is not None]
    if not shown:
        return None
    slo = str(brackets["slo"].iloc[0])
    column, limit_s = _limited(slo)
    arrival = str(brackets["arrival"].iloc[0])
    figure, grid = page(2, len(shown), panel_in=(max(3.2, 5.6 / len(shown)), 2.1), sharex="col", sharey="row")
    for place, line in enumerate(shown):
        for axes, drawn in zip(grid[:, place], (column, THROUGHPUT), strict=True):
            _draw(axes, line, arrival, drawn, bracket=_bracket(line, brackets))
        grid[0, place].set_title(_title(line, brackets))
        draw_due(grid[1, place], line.at(arrival))
        grid[1, place].set_xlabel(named("offered_rps"))
        if limit_s is not None:
            grid[0, place].axhline(limit_s, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1, gid="promise")
    for row, drawn in zip(grid, (column, THROUGHPUT), strict=True):
        log_axis(row[0])
        row[0].set_ylabel(named(drawn).replace(" (", "\n("))
    band = Patch(facecolor=GREY, alpha=0.25, label="the bracket: the capacity lies in it")
    handles = [*line_handles(shown), band, due_handle(study.summary), *mark_handles(shown, column)]
    notes = [f"{arrivals_title(arrival)}; SLO, dashed above: {slo}."]
    return finish(figure, study, "Capacity", handles=handles, notes=notes)


def _draw(axes: Axes, line: Line, arrival: str, column: str, *, bracket: tuple[float, float] | None) -> None:
    draw_line(axes, line, arrival, column)
    # Bisection puts its rates close together: where it ended is in the title.
    measured = line.at(arrival)["offered_rps"]
    rate_axis(axes, [rate for rate in measured if rate in (measured.min(), measured.max()) or float(rate).is_integer()])
    if bracket is not None and not np.isnan(bracket).any():
        axes.axvspan(*bracket, color=GREY, alpha=0.25, linewidth=0, zorder=0, gid="bracket")


def _row(line: Line, brackets: pd.DataFrame) -> pd.Series | None:
    name = line.points["configuration"].iloc[0]
    return brackets.loc[name] if name in brackets.index else None


def _bracket(line: Line, brackets: pd.DataFrame) -> tuple[float, float] | None:
    row = _row(line, brackets)
    return None if row is None else (float(row["low_rps"]), float(row["high_rps"]))


def _title(line: Line, brackets: pd.DataFrame) -> str:
    row = _row(line, brackets)
    if row is None or pd.isna(row["capacity_rps"]):
        return f"{line.label}: not found"
    return f"{line.label}: {row['capacity_rps']:g}/s{'' if row['resolved'] else ', not resolved'}"


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
