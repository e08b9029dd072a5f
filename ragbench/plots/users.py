"""The closed loop: what a number of users who wait for each answer get, and what the service answers them."""

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ragbench.plots.lines import as_many_as_read, left_out
from ragbench.plots.marks import draw_line, line_handles, mark_handles
from ragbench.plots.style import finish, log_axis, named, page, plain, styled
from ragbench.results.folder import CLOSED, Study

COLUMNS = ("throughput_rps", "latency_p95_s")
BLIND = "Each user asks again when answered, so a service that stalls is asked less: these latencies do not show it."


@styled
def users(study: Study) -> Figure | None:
    """Throughput and p95 latency against the number of users, a line per design; None without a closed loop."""
    closed = study.closed_loop
    if closed.summary.empty:
        return None
    shown = as_many_as_read(closed)
    numbers = sorted(closed.summary["concurrency"].unique())
    figure, (row,) = page(1, len(COLUMNS), panel_in=(3.6, 2.6))
    for axes, column in zip(row, COLUMNS, strict=True):
        for line in shown:
            draw_line(axes, line, CLOSED, column, by="concurrency")
        axes.set_xscale("log")
        axes.set_xlim(numbers[0] / 1.25, numbers[-1] * 1.25)
        axes.xaxis.set_major_locator(FixedLocator(numbers))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(plain))
        log_axis(axes)
        axes.set(xlabel=named("concurrency"), ylabel=named(column))
    handles = line_handles(shown) + mark_handles(shown, *reversed(COLUMNS))
    return finish(
        figure, closed, "Users who wait for their answers", handles=handles, notes=[BLIND, left_out(closed, shown)]
    )
