"""Throughput against offered load: how much of what was asked got answered."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ragbench.plots.lines import as_many_as_read, left_out
from ragbench.plots.study import Study, open_loop
from ragbench.plots.style import (
    GREY,
    arrivals_told,
    draw_line,
    finish,
    line_handles,
    log_axis,
    mark_handles,
    named,
    page,
    rate_axis,
    styled,
)


@styled
@open_loop
def throughput(study: Study) -> Figure | None:
    """Answers per second under each arrival process (columns), one line per design, and the line of no loss."""
    shown = as_many_as_read(study)
    rates = np.array(sorted(study.summary["offered_rps"].unique()))
    figure, (row,) = page(1, len(study.arrivals), panel_in=(3.6, 3.0), sharex="all", sharey="all")
    for axes, arrival in zip(row, study.arrivals, strict=True):
        ends = rates[[0, -1]] * (1 / 1.25, 1.25)
        axes.plot(ends, ends, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1, gid="y = x")
        for line in shown:
            draw_line(axes, line, arrival, "throughput_rps")
        rate_axis(axes, list(rates))
        axes.set_title(arrivals_told(arrival))
        axes.set_xlabel(named("offered_rps"))
    log_axis(row[0])
    row[0].set_ylabel(named("throughput_rps"))
    equal = Line2D([], [], color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), label="y = x: all offered load answered")
    handles = [*line_handles(shown), equal, *mark_handles(shown, "throughput_rps")]
    return finish(figure, study, "Throughput against offered load", handles=handles, notes=[left_out(study, shown)])
