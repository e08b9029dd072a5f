"""Batch sizes side by side: what the limit on a batch changes, and how large batches really get."""

import pandas as pd
from matplotlib.figure import Figure

from ragbench.plots.lines import Line, lines
from ragbench.plots.marks import draw_line, line_handles, mark_handles
from ragbench.plots.style import arrivals_told, finish, log_axis, named, page, rate_axis, styled
from ragbench.results.folder import Study, open_loop

COLUMNS = ("batch_size", "throughput_rps", "latency_p95_s")
SETTING = "max_batch_size"


@styled
@open_loop
def batches(study: Study) -> Figure | None:
    """Mean batch, throughput and p95 latency (columns) per arrival process (rows), a line per `max_batch_size`.

    Shows designs that batch; None where no server told its batch sizes and none was swept.
    """
    shown = [line for line in lines(study) if _batches(study, line)]
    columns = [column for column in COLUMNS if any((line.points[column] > 0).any() for line in shown)]
    if not columns:
        return None
    figure, grid = page(len(study.arrivals), len(columns), panel_in=(2.8, 2.1), sharex="all", sharey="col")
    for row, arrival in zip(grid, study.arrivals, strict=True):
        for axes, column in zip(row, columns, strict=True):
            for line in shown:
                draw_line(axes, line, arrival, column)
            rate_axis(axes, list(study.summary["offered_rps"]))
            axes.set_ylabel(named(column).replace(" (", "\n("))
            axes.set_title(arrivals_told(arrival))
    for axes in grid[0]:
        log_axis(axes)
    for axes in grid[-1]:
        axes.set_xlabel(named("offered_rps"))
    handles = line_handles(shown) + mark_handles(shown, "latency_p95_s", "throughput_rps")
    return finish(figure, study, "Batch sizes side by side", handles=handles)


def _batches(study: Study, line: Line) -> bool:
    limit = line.points[SETTING] if SETTING in study.settings else pd.Series(dtype=float)
    return bool(limit.notna().any() or (line.points["batch_size"] > 1).any())
