"""Latency by stage: the queue, the three stages of the pipeline, and the time in no stage."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ragbench.plots.lines import left_out, one_each
from ragbench.plots.style import arrivals_title, finish, line_panels, styled
from ragbench.results.folder import Study, open_loop

STAGES = ("queue_s", "embed_s", "retrieve_s", "generate_s")
# Light to dark in the order of a request: unlike every design's colour, and distinct by lightness alone.
COLOURS = dict(zip((*STAGES, "rest"), ("#f6d99b", "#c9b3d9", "#8f6bb0", "#4b2a75", "white"), strict=True))
EDGE: dict[str, Any] = {"edgecolor": "#555555", "linewidth": 0.5}
MOST_LEVEL, FEWEST_BARS = 5, 3


@styled
@open_loop
def stages(study: Study) -> Figure | None:
    """Share of the mean latency per stage at each rate, a panel per design; the mean stands above each bar.

    `rest` is the mean latency less the stages: the network, the client, and the server outside its stages, or all of it
    where a server reports no stages. At the study's main arrival process. None without latencies.
    """
    arrival = study.main_arrival
    shown = [line for line in one_each(study) if line.at(arrival)["latency_mean_s"].notna().any()]
    if not shown:
        return None
    figure, panels = line_panels(shown, ylabel="share of latency_mean_s (%)")
    for axes, line in zip(panels, shown, strict=True):
        _stack(axes, line.at(arrival))
        pad = 14 if len(axes.texts) <= MOST_LEVEL else 38
        axes.set_title(axes.get_title(), color=line.colour, fontweight="bold", pad=pad)
    notes = [
        f"{arrivals_title(arrival)}; above each bar: latency_mean_s, starred where not valid.",
        "Means over the answers of each run, and over seeds." if study.summary["seed"].nunique() > 1 else "",
        left_out(study, shown),
    ]
    return finish(figure, study, "Where the time goes", handles=_handles(), notes=notes)


def shares(points: pd.DataFrame) -> pd.DataFrame:
    """Seconds per stage and `rest` at each offered rate, means over seeds; rows without a latency are left out."""
    means = points.groupby("offered_rps")[["latency_mean_s", *STAGES]].mean().dropna(subset="latency_mean_s")
    seconds = means[list(STAGES)].fillna(0.0)
    return seconds.assign(rest=(means["latency_mean_s"] - seconds.sum(axis=1)).clip(lower=0.0))


def _stack(axes: Axes, points: pd.DataFrame) -> None:
    seconds = shares(points)
    totals = seconds.sum(axis=1)
    percent = seconds.div(totals, axis=0) * 100
    places, bottom = np.arange(len(percent)), np.zeros(len(percent))
    for stage, colour in COLOURS.items():
        axes.bar(places, percent[stage], 0.72, bottom, color=colour, **EDGE, gid=stage)
        bottom += percent[stage].to_numpy()
    valid = points.groupby("offered_rps")["verdict"].agg(lambda verdicts: (verdicts == "valid").all())
    turned = 90 if len(totals) > MOST_LEVEL else 0
    for place, (rate, total) in enumerate(totals.items()):
        label = _duration(total) + ("" if valid[rate] else "*")
        axes.text(place, 102, label, ha="center", va="bottom", fontsize=7, rotation=turned)
    axes.set_xticks(places, [f"{rate:g}" for rate in percent.index])
    axes.set(xlim=(-0.6, max(len(percent), FEWEST_BARS) - 0.4), ylim=(0, 100))
    axes.grid(visible=False, axis="x")


def _duration(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _handles() -> list[Patch]:
    labels = (*STAGES, "rest: in no stage")
    return [
        Patch(facecolor=colour, **EDGE, label=label) for colour, label in zip(COLOURS.values(), labels, strict=True)
    ]
