"""The simulator's figures: simulated curves on measured points, and a scenario over time. Simulates nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ragbench.files.whole_file import write_whole
from ragbench.plots import rendered
from ragbench.plots.lines import DESIGN_COLOURS
from ragbench.plots.style import GREY, RC, log_axis, rate_axis

LATENCIES = {"p50": ("latency_p50_s", "simulated_p50_s"), "p95": ("latency_p95_s", "simulated_p95_s")}


def twin(agreement: pd.DataFrame, *, arrival: str = "poisson") -> Figure:
    """p50 and p95 (rows) of each design (columns) against offered load: measured marks, the simulated curve.

    `agreement` has the columns of agreement.csv. Hollow marks were not valid when measured.
    """
    rows = agreement[agreement["arrival"] == arrival]
    designs = list(dict.fromkeys(rows["design"]))
    with mpl.rc_context(RC):
        figure = Figure(figsize=(max(3.4, 2.4 * len(designs)), 4.6), layout="constrained")
        grid = figure.subplots(2, max(1, len(designs)), sharex=True, sharey="row", squeeze=False)
        for column, design in enumerate(designs):
            points = rows[rows["design"] == design].sort_values("offered_rps")
            for axes, (name, columns) in zip(grid[:, column], LATENCIES.items(), strict=True):
                _curves(axes, points, *columns, colour=DESIGN_COLOURS.get(design.split()[0], GREY))
                axes.set_ylabel(f"latency {name} (s)" if column == 0 else "")
            grid[0, column].set_title(design.replace(" ", "\n"))
            grid[1, column].set_xlabel("offered load (requests/s)")
        figure.suptitle(f"Measured (marks) and simulated (line), {arrival} arrivals")
    return figure


def _curves(axes: Axes, points: pd.DataFrame, measured: str, simulated: str, *, colour: str) -> None:
    axes.plot(points["offered_rps"], points[simulated], color=colour, linestyle="--", gid="simulated")
    for is_valid, face in ((True, colour), (False, "white")):
        shown = points[(points["verdict"] == "valid") == is_valid]
        axes.plot(
            shown["offered_rps"], shown[measured], "o", markerfacecolor=face, markeredgecolor=colour, gid="measured"
        )
    rate_axis(axes, list(points["offered_rps"]))
    log_axis(axes)


def draw_timeline(moments: Sequence[Mapping[str, float]], path: Path, *, title: str, note: str = "") -> None:
    """A scenario over time as PNG: load, latency, replicas. `moments` as in timeline.csv."""
    write_whole(path, rendered(timeline_figure(pd.DataFrame(moments), title=title, note=note), "png"))


def timeline_figure(moments: pd.DataFrame, *, title: str, note: str = "") -> Figure:
    """The figure of `draw_timeline`."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(6.4, 5.0), layout="constrained")
        load, latency, replicas = figure.subplots(3, 1, sharex=True)
        t_s = moments["t_s"]
        load.step(t_s, moments["offered_rps"], where="post", color=GREY, label="offered")
        answered = moments["offered_rps"] * moments["answered_share"]
        load.step(
            t_s, answered, where="post", color=DESIGN_COLOURS["scaled"], linestyle="--", label="answered in the end"
        )
        load.set_ylabel("requests/s")
        latency.step(t_s, moments["latency_p95_s"], where="post", color=DESIGN_COLOURS["batched"], label="p95")
        latency.step(t_s, moments["latency_p50_s"], where="post", color=DESIGN_COLOURS["baseline"], label="p50")
        log_axis(latency)
        latency.set_ylabel("latency (s),\nby due time")
        ready = moments["ready"].to_numpy(dtype=float)
        replicas.step(t_s, ready, where="post", color=DESIGN_COLOURS["scaled"], label="ready")
        starting = ready + moments["starting"].to_numpy(dtype=float)
        replicas.step(t_s, starting, where="post", color=GREY, linestyle=":", label="with those starting")
        replicas.set_ylabel("replicas")
        replicas.set_ylim(0, float(np.nanmax(starting)) * 1.15 if len(starting) else 1)
        replicas.set_xlabel(f"time (s){'; ' + note if note else ''}")
        for axes in (load, latency, replicas):
            axes.legend(loc="lower right" if axes is replicas else "upper right", fontsize=7)
        load.set_ylim(bottom=0)
        figure.suptitle(f"{title} (simulated)")
    return figure
