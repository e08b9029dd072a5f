"""Replicas over time, over the load that moved them."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ragbench.in_flight import mean_in_flight
from ragbench.plots.lines import Line, left_out, one_each, tint
from ragbench.plots.study import Study, open_loop
from ragbench.plots.style import GREY, arrivals_told, finish, page, styled

STATES = {"ready": 0.0, "starting": 0.55, "draining": 0.85}
HATCHES = {"ready": None, "starting": "////", "draining": "\\\\\\\\"}
MOST_COLUMNS = 4
SLICES = 80


@styled
@open_loop
def replicas(study: Study) -> Figure | None:
    """Replicas by state (top) and requests in flight (bottom) through a point, the highest rates as columns.

    At the study's main arrival process and first seed. None where no server told its replicas.
    """
    shown = _points(study)
    if not shown:
        return None
    figure, grid = page(2, len(shown), panel_in=(7.2 / max(len(shown), 2), 1.6), sharex="col", sharey="row")
    for (line, point), (top, bottom) in zip(shown, grid.T, strict=True):
        _states(top, study.replicas(point["point"]), line.colour)
        told = "" if point["verdict"] == "valid" else f"\n({point['verdict']})"
        top.set_title(f"{line.variant}\n{point['offered_rps']:g} requests per second{told}")
        requests = study.requests(point["point"])
        if requests is not None:
            bottom.stairs(*in_flight(requests), fill=True, facecolor=tint(line.colour, 0.55), edgecolor=line.colour)
        bottom.set_xlabel("t_s (seconds)")
    grid[0, 0].set(ylabel="replicas\n(processes)", ylim=(0, None))
    grid[0, 0].yaxis.set_major_locator(MaxNLocator(integer=True))
    grid[1, 0].set(ylabel="in flight\n(requests, mean)", ylim=(0, None))
    lines = list({line.label: line for line, _ in shown}.values())
    notes = [f"{arrivals_told(study.main_arrival)}, the highest rates, seed {shown[0][1]['seed']}."]
    notes.append(left_out(study, lines))
    return finish(figure, study, "Replicas over time", handles=_handles(), notes=notes)


def _points(study: Study) -> list[tuple[Line, pd.Series]]:
    found = []
    for line in one_each(study):
        rows = line.at(study.main_arrival).sort_values(["offered_rps", "seed"]).drop_duplicates("offered_rps")
        found.append([(line, row) for _, row in rows.iterrows() if study.replicas(row["point"]) is not None])
    scaling = [points for points in found if points]
    each = max(1, MOST_COLUMNS // max(len(scaling), 1))
    return [point for points in scaling[:MOST_COLUMNS] for point in points[-each:]]


def _states(axes: Axes, samples: pd.DataFrame | None, colour: tuple[float, ...]) -> None:
    if samples is None or samples.empty:
        return
    base = np.zeros(len(samples))
    for state, share in STATES.items():
        top = base + samples[state].to_numpy(dtype=float)
        axes.fill_between(
            samples["t_s"],
            base,
            top,
            step="post",
            facecolor=tint(colour, share),
            edgecolor=colour,
            hatch=HATCHES[state],
            linewidth=0.4,
            gid=state,
        )
        base = top


def in_flight(requests: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Requests due and not yet done, averaged over each of SLICES slices of a point: means (n,), edges (n + 1,) s.

    A request that was never done stays in flight to the end.
    """
    starts = requests["due_s"].dropna().to_numpy(dtype=float)
    ends = requests["done_s"].dropna().to_numpy(dtype=float)
    edges = np.linspace(0, max([*starts, *ends], default=1.0), SLICES + 1)
    return mean_in_flight(starts, ends, edges), edges


def _handles() -> list[Patch]:
    return [
        Patch(facecolor=tint(GREY, share), edgecolor=GREY, hatch=HATCHES[state], label=state)
        for state, share in STATES.items()
    ]
