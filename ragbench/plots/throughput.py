"""Throughput against offered load: how much of what was asked got answered."""

from matplotlib.figure import Figure

from ragbench.plots.lines import as_many_as_read, left_out
from ragbench.plots.marks import draw_due, draw_line, due_handle, line_handles, mark_handles
from ragbench.plots.style import arrivals_told, finish, log_axis, named, page, rate_axis, styled
from ragbench.results.folder import Study, open_loop


@styled
@open_loop
def throughput(study: Study) -> Figure | None:
    """Answers per second under each arrival process (columns), one line per design, over what was due meanwhile.

    A schedule that is random draws more or less than its rate, so that the rate is no measure of what was lost.
    """
    shown = as_many_as_read(study)
    figure, (row,) = page(1, len(study.arrivals), panel_in=(3.6, 3.0), sharex="all", sharey="all")
    for axes, arrival in zip(row, study.arrivals, strict=True):
        draw_due(axes, study.summary[study.summary["arrival"] == arrival])
        for line in shown:
            draw_line(axes, line, arrival, "throughput_rps")
        rate_axis(axes, list(study.summary["offered_rps"]))
        axes.set_title(arrivals_told(arrival))
        axes.set_xlabel(named("offered_rps"))
    log_axis(row[0])
    row[0].set_ylabel(named("throughput_rps"))
    handles = [*line_handles(shown), due_handle(study.summary), *mark_handles(shown, "throughput_rps")]
    return finish(figure, study, "Throughput against offered load", handles=handles, notes=[left_out(study, shown)])
