"""The simulator's figures: simulated curves on measured points, and a scenario over time. Simulates nothing."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

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
            colour = DESIGN_COLOURS.get(design.split()[0], GREY)
            for axes, (name, (measured, simulated)) in zip(grid[:, column], LATENCIES.items(), strict=True):
                axes.plot(points["offered_rps"], points[simulated], "--", color=colour, gid="simulated")
                for is_valid, face in ((True, colour), (False, "white")):
                    shown = points[(points["verdict"] == "valid") == is_valid]
                    marks = {"markerfacecolor": face, "markeredgecolor": colour, "gid": "measured"}
                    axes.plot(shown["offered_rps"], shown[measured], "o", **marks)
                rate_axis(axes, list(points["offered_rps"]))
                log_axis(axes)
                axes.set_ylabel(f"latency {name} (s)" if column == 0 else "")
            grid[0, column].set_title(design.replace(" ", "\n"))
            grid[1, column].set_xlabel("offered load (requests/s)")
        figure.suptitle(f"Measured (marks) and simulated (line), {arrival} arrivals")
    return figure


def timeline_figure(moments: pd.DataFrame, *, title: str, note: str = "") -> Figure:
    """A scenario over time: load, latency, replicas. `moments` as in timeline.csv."""
    starting = moments["ready"] + moments["starting"]
    answered_rps = moments["offered_rps"] * moments["answered_share"]
    with mpl.rc_context(RC):
        figure = Figure(figsize=(6.4, 5.0), layout="constrained")
        load, latency, replicas = figure.subplots(3, 1, sharex=True)
        scaled, batched, baseline = (DESIGN_COLOURS[design] for design in ("scaled", "batched", "baseline"))
        for axes, values, colour, dash, label in (
            (load, moments["offered_rps"], GREY, "-", "offered"),
            (load, answered_rps, scaled, "--", "answered in the end"),
            (latency, moments["latency_p95_s"], batched, "-", "p95"),
            (latency, moments["latency_p50_s"], baseline, "-", "p50"),
            (replicas, moments["ready"], scaled, "-", "ready"),
            (replicas, starting, GREY, ":", "with those starting"),
        ):
            axes.step(moments["t_s"], values, dash, where="post", color=colour, label=label)
        load.set_ylabel("requests/s")
        log_axis(latency)
        latency.set_ylabel("latency (s),\nby due time")
        replicas.set(ylabel="replicas", xlabel=f"time (s){'; ' + note if note else ''}")
        replicas.set_ylim(0, starting.max() * 1.15 if len(starting) else 1)
        for axes in (load, latency, replicas):
            axes.legend(loc="lower right" if axes is replicas else "upper right", fontsize=7)
        load.set_ylim(bottom=0)
        figure.suptitle(f"{title} (simulated)")
    return figure
