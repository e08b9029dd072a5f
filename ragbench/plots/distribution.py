"""The distribution of latency at one load, with its tail."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ragbench.plots.lines import Line, left_out, one_each
from ragbench.plots.marks import line_handles
from ragbench.plots.style import GREY, PLAIN, arrivals_title, finish, log_axis, page, styled
from ragbench.results.folder import Study, open_loop

PERCENTILES = {"p50": 0.5, "p90": 0.1, "p99": 0.01}


@styled
@open_loop
def distribution(study: Study) -> Figure | None:
    """Share of requests slower than a latency, one curve per design and seed, each arrival process a column.

    Rows: the highest rate at which every design was valid, and the highest rate offered to all. A request without an
    answer counts as slower than any, so a curve ends at the share of requests that got none.
    """
    lines = one_each(study)
    rates = common_rates(pd.concat([line.points for line in lines]))
    figure, grid = page(len(rates), len(study.arrivals), panel_in=(3.6, 2.4), sharex="row", sharey="all")
    curves = 0
    for row, rate in zip(grid, rates, strict=True):
        for axes, arrival in zip(row, study.arrivals, strict=True):
            curves += sum(_curves(axes, study, line, arrival, rate) for line in lines)
            _percentiles(axes, is_labelled=axes is row[-1])
            axes.set_title(f"{arrivals_title(arrival)}, offered {rate:g} requests per second")
        row[0].set_ylabel("share of requests slower (%)")
    if not curves:
        return None
    grid[0, 0].set(yscale="log", ylim=(0.5, 100))
    for axes in grid.flat:
        log_axis(axes, "x")
        axes.yaxis.set_major_formatter(PLAIN)
    for axes in grid[-1]:
        axes.set_xlabel("latency_s (seconds)")
    handles = line_handles(lines, is_marked=False)
    if any((line.points.loc[line.points["offered_rps"].isin(rates), "verdict"] != "valid").any() for line in lines):
        handles.append(Line2D([], [], color=GREY, linestyle=":", label="dotted: not valid"))
    notes = ["One curve per seed; a request without an answer counts as slower than any.", left_out(study, lines)]
    return finish(figure, study, "Distribution of latency", handles=handles, notes=notes)


def common_rates(points: pd.DataFrame) -> list[float]:
    """The highest rate with most designs valid at every arrival process, then the highest offered to most designs."""
    groups = points.assign(valid=points["verdict"] == "valid").groupby(["offered_rps", "design"])["valid"].all()
    counts = groups.groupby(level="offered_rps").agg(["sum", "count"])
    calm = max(counts.index, key=lambda rate: (counts.loc[rate, "sum"], rate))
    full = max(counts.index, key=lambda rate: (counts.loc[rate, "count"], rate))
    return [float(rate) for rate in dict.fromkeys((calm, full))]


def slower(requests: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Latencies of answered requests, ascending (n,) s, and the share of all requests slower than each (n,) 0..1."""
    answered = np.sort(requests.loc[requests["status"] == "ok", "latency_s"].dropna().to_numpy(dtype=float))
    return answered, 1 - np.arange(1, len(answered) + 1) / max(len(requests), 1)


def _curves(axes: Axes, study: Study, line: Line, arrival: str, rate: float) -> int:
    """Draw a line's curves, one per seed; returns how many there were."""
    drawn = 0
    for point, verdict in line.at(arrival, rate)[["point", "verdict"]].itertuples(index=False):
        requests = study.requests(point)
        latency_s, share = slower(requests) if requests is not None else (np.array([]), np.array([]))
        if len(latency_s):
            x, percent = np.append(latency_s[:1], latency_s), np.append(1.0, share) * 100
            style = "-" if verdict == "valid" else ":"
            looks: dict[str, Any] = {"color": line.colour, "linewidth": line.width, "linestyle": style}
            axes.plot(x, percent, drawstyle="steps-post", gid=line.label, **looks)
            drawn += 1
    return drawn


def _percentiles(axes: Axes, *, is_labelled: bool) -> None:
    looks: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 7, "color": GREY}
    for name, share in PERCENTILES.items():
        axes.axhline(share * 100, color=GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
        if is_labelled:
            axes.annotate(name, (1, share * 100), (3, 0), xycoords=axes.get_yaxis_transform(), **looks)
