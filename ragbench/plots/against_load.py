"""Figures against load, a line per design: latency, throughput, batch sizes, and closed loops of users."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ragbench.plots.lines import Line, left_out, lines, readable_lines
from ragbench.plots.marks import draw_due, draw_line, due_handle, line_handles, mark_handles
from ragbench.plots.style import arrivals_title, exact_log_axis, finish, log_axis, named, page, rate_axis, styled
from ragbench.results.folder import CLOSED, Study, open_loop

LATENCIES = ("latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s")
OF_BATCHES = ("batch_size", "throughput_rps", "latency_p95_s")
OF_USERS = ("throughput_rps", "latency_p95_s")
SETTING = "max_batch_size"
BLIND = "Each user asks again when answered, so a service that stalls is asked less: these latencies do not show it."


@styled
@open_loop
def latency(study: Study) -> Figure | None:
    """Mean, p50, p95 and p99 latency (rows) under each arrival process (columns), one line per design."""
    shown = readable_lines(study)
    if study.summary[list(LATENCIES)].isna().all(axis=None):
        return None
    figure, grid = page(len(LATENCIES), len(study.arrivals), panel_in=(3.6, 1.75), sharex="all", sharey="row")
    for row, column in zip(grid, LATENCIES, strict=True):
        for axes, arrival in zip(row, study.arrivals, strict=True):
            _draw(axes, study, shown, arrival, column)
        log_axis(row[0])
        row[0].set_ylabel(_in_two_lines(column))
    for axes, arrival in zip(grid[0], study.arrivals, strict=True):
        axes.set_title(arrivals_title(arrival))
    for axes in grid[-1]:
        axes.set_xlabel(named("offered_rps"))
    handles = line_handles(shown) + mark_handles(shown, *LATENCIES)
    return finish(figure, study, "Latency against offered load", handles=handles, notes=[left_out(study, shown)])


@styled
@open_loop
def throughput(study: Study) -> Figure | None:
    """Answers per second under each arrival process (columns), one line per design, beside the requests due per second.

    A random schedule draws more or less than its rate, so the rate does not show what was lost.
    """
    shown = readable_lines(study)
    figure, (row,) = page(1, len(study.arrivals), panel_in=(3.6, 3.0), sharex="all", sharey="all")
    for axes, arrival in zip(row, study.arrivals, strict=True):
        draw_due(axes, study.summary[study.summary["arrival"] == arrival])
        _draw(axes, study, shown, arrival, "throughput_rps")
        axes.set(title=arrivals_title(arrival), xlabel=named("offered_rps"))
    log_axis(row[0])
    row[0].set_ylabel(named("throughput_rps"))
    handles = [*line_handles(shown), due_handle(study.summary), *mark_handles(shown, "throughput_rps")]
    return finish(figure, study, "Throughput against offered load", handles=handles, notes=[left_out(study, shown)])


@styled
@open_loop
def batches(study: Study) -> Figure | None:
    """Mean batch, throughput and p95 latency (columns) per arrival process (rows), a line per `max_batch_size`.

    Shows designs that batch; None where no server reported its batch sizes and none was swept.
    """
    shown = [line for line in lines(study) if _is_batching(study, line)]
    columns = [column for column in OF_BATCHES if any((line.points[column] > 0).any() for line in shown)]
    if not columns:
        return None
    figure, grid = page(len(study.arrivals), len(columns), panel_in=(2.8, 2.1), sharex="all", sharey="col")
    for row, arrival in zip(grid, study.arrivals, strict=True):
        for axes, column in zip(row, columns, strict=True):
            _draw(axes, study, shown, arrival, column)
            axes.set(title=arrivals_title(arrival), ylabel=_in_two_lines(column))
    for axes in grid[0]:
        log_axis(axes)
    for axes in grid[-1]:
        axes.set_xlabel(named("offered_rps"))
    handles = line_handles(shown) + mark_handles(shown, "latency_p95_s", "throughput_rps")
    return finish(figure, study, "Batch sizes side by side", handles=handles)


@styled
def users(study: Study) -> Figure | None:
    """Throughput and p95 latency against the number of users, a line per design; None without a closed loop."""
    closed = study.closed_loop
    if closed.summary.empty:
        return None
    shown = readable_lines(closed)
    numbers = sorted(closed.summary["concurrency"].unique())
    figure, (row,) = page(1, len(OF_USERS), panel_in=(3.6, 2.6))
    for axes, column in zip(row, OF_USERS, strict=True):
        for line in shown:
            draw_line(axes, line, CLOSED, column, by="concurrency")
        exact_log_axis(axes, numbers)
        log_axis(axes)
        axes.set(xlabel=named("concurrency"), ylabel=named(column))
    handles = line_handles(shown) + mark_handles(shown, *reversed(OF_USERS))
    notes = [BLIND, left_out(closed, shown)]
    return finish(figure, closed, "Users who wait for their answers", handles=handles, notes=notes)


def _draw(axes: Axes, study: Study, shown: Sequence[Line], arrival: str, column: str) -> None:
    for line in shown:
        draw_line(axes, line, arrival, column)
    rate_axis(axes, list(study.summary["offered_rps"]))


def _in_two_lines(column: str) -> str:
    return named(column).replace(" (", "\n(")


def _is_batching(study: Study, line: Line) -> bool:
    limit = line.points[SETTING] if SETTING in study.settings else pd.Series(dtype=float)
    return bool(limit.notna().any() or (line.points["batch_size"] > 1).any())
