"""Latency against offered load: how long an answer takes as the load grows."""

from matplotlib.figure import Figure

from ragbench.plots.lines import as_many_as_read, left_out
from ragbench.plots.marks import draw_line, line_handles, mark_handles
from ragbench.plots.style import arrivals_told, finish, log_axis, named, page, rate_axis, styled
from ragbench.results.folder import Study, open_loop

STATISTICS = ("latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s")


@styled
@open_loop
def latency(study: Study) -> Figure | None:
    """Mean, p50, p95 and p99 latency (rows) under each arrival process (columns), one line per design."""
    shown = as_many_as_read(study)
    if study.summary[list(STATISTICS)].isna().all(axis=None):
        return None
    figure, grid = page(len(STATISTICS), len(study.arrivals), panel_in=(3.6, 1.75), sharex="all", sharey="row")
    for row, column in zip(grid, STATISTICS, strict=True):
        for axes, arrival in zip(row, study.arrivals, strict=True):
            for line in shown:
                draw_line(axes, line, arrival, column)
            rate_axis(axes, list(study.summary["offered_rps"]))
        log_axis(row[0])
        row[0].set_ylabel(named(column).replace(" (", "\n("))
    for axes, arrival in zip(grid[0], study.arrivals, strict=True):
        axes.set_title(arrivals_told(arrival))
    for axes in grid[-1]:
        axes.set_xlabel(named("offered_rps"))
    handles = line_handles(shown) + mark_handles(shown, *STATISTICS)
    return finish(figure, study, "Latency against offered load", handles=handles, notes=[left_out(study, shown)])
