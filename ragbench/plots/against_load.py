"""Figures against load, a line per design: latency, throughput, batch sizes, and closed loops of users."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ragbench.plots.lines import Line, left_out, lines, readable_lines
from ragbench.plots.marks import draw_due, draw_line, due_handle, line_handles, mark_handles
from ragbench.plots.style import arrivals_title, finish, log_axis, named, page, rate_axis, styled
from ragbench.results.folder import CLOSED, Study, open_loop

LATENCIES = ("latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s")
OF_BATCHES = ("batch_size", "throughput_rps", "latency_p95_s")
OF_USERS = ("throughput_rps", "latency_p95_s")
SETTING = "max_batch_size"
BLIND = "Each user asks again when answered, so a service that stalls is asked less: these latencies do not show it."


@styled
@open_loop
def latency(study: Study) -> Figure | None:
    """Mean, p50, p95 and p99 latency, one line per design."""
    is_absent = study.summary[list(LATENCIES)].isna().all(axis=None)
    return None if is_absent else _figure(study, readable_lines(study), LATENCIES, "Latency against offered load")


@styled
@open_loop
def throughput(study: Study) -> Figure | None:
    """Answers per second, one line per design, beside the requests due per second.

    A random schedule draws more or less than its rate, so the rate does not show what was lost.
    """
    shown = readable_lines(study)
    return _figure(study, shown, ("throughput_rps",), "Throughput against offered load", height_in=3.0)


@styled
@open_loop
def batches(study: Study) -> Figure | None:
    """Mean batch, throughput and p95 latency, a line per `max_batch_size`.

    Shows designs that batch; None where no server reported its batch sizes and none was swept.
    """
    shown = [line for line in lines(study) if _is_batching(study, line)]
    columns = [column for column in OF_BATCHES if any((line.points[column] > 0).any() for line in shown)]
    return _figure(study, shown, columns, "Batch sizes side by side") if columns else None


def _figure(study: Study, shown: list[Line], columns: Sequence[str], title: str, *, height_in: float = 1.75) -> Figure:
    """A panel per column of the summary (rows) and arrival process (columns), against offered load."""
    labels: dict[str, Any] = {
        "titles": [arrivals_title(arrival) for arrival in study.arrivals],
        "xlabel": named("offered_rps"),
        "ylabels": [named(column).replace(" (", "\n(") for column in columns],
    }
    size = len(columns), len(study.arrivals)
    figure, grid = page(*size, panel_in=(3.6, height_in), sharex="all", sharey="row", **labels)
    for row, column in zip(grid, columns, strict=True):
        for axes, arrival in zip(row, study.arrivals, strict=True):
            if column == "throughput_rps":
                draw_due(axes, study.summary[study.summary["arrival"] == arrival])
            for line in shown:
                draw_line(axes, line, arrival, column)
            rate_axis(axes, list(study.summary["offered_rps"]))
        log_axis(row[0])
    due = [due_handle(study.summary)] if "throughput_rps" in columns else []
    handles = [*line_handles(shown), *due, *mark_handles(shown, *columns)]
    return finish(figure, study, title, handles=handles, notes=[left_out(study, shown)])


@styled
def users(study: Study) -> Figure | None:
    """Throughput and p95 latency against the number of users, a line per design; None without a closed loop."""
    closed = study.closed_loop
    if closed.summary.empty:
        return None
    shown = readable_lines(closed)
    figure, (row,) = page(1, len(OF_USERS), panel_in=(3.6, 2.6), xlabel=named("concurrency"))
    for axes, column in zip(row, OF_USERS, strict=True):
        for line in shown:
            draw_line(axes, line, CLOSED, column, by="concurrency")
        rate_axis(axes, list(closed.summary["concurrency"]))
        log_axis(axes)
        axes.set_ylabel(named(column))
    handles = line_handles(shown) + mark_handles(shown, *reversed(OF_USERS))
    notes = [BLIND, left_out(closed, shown)]
    return finish(figure, closed, "Users who wait for their answers", handles=handles, notes=notes)


def _is_batching(study: Study, line: Line) -> bool:
    limit = line.points[SETTING] if SETTING in study.settings else pd.Series(dtype=float)
    return bool(limit.notna().any() or (line.points["batch_size"] > 1).any())
