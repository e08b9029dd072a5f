"""Replicas over time with the decisions on them, over the load that moved them and the queue wait that it caused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ragbench.arrivals import step_up_s
from ragbench.in_flight import mean_in_flight
from ragbench.plots.lines import Line, left_out, one_each, tint
from ragbench.plots.study import Study, open_loop
from ragbench.plots.style import GREY, arrivals_told, finish, page, styled

STATES = {"ready": 0.0, "starting": 0.55, "draining": 0.85}
HATCHES = {"ready": None, "starting": "////", "draining": "\\\\\\\\"}
WAYS = {"up": "^", "down": "v"}
REASON_FILLS = ("black", "white", "#9a9a9a", "#f0c000")
OTHER_REASON = "another reason"
MOST_COLUMNS = 4
SLICES = 80


@styled
@open_loop
def replicas(study: Study) -> Figure | None:
    """Replicas by state, requests in flight and queue wait through a point, the highest rates as columns.

    At arrivals that step, or the study's main process, and its first seed; queue wait and the marks of decisions where
    a server told them. None where no server told its replicas.
    """
    arrival = next((each for each in study.arrivals if each.partition(":")[0] == "step"), study.main_arrival)
    shown = _points(study, arrival)
    if not shown:
        return None
    decided = [study.scaling(point["point"]) for _, point in shown]
    fills = _fills([decisions for decisions in decided if decisions is not None])
    panels = 2 if all(decisions is None for decisions in decided) else 3
    figure, grid = page(panels, len(shown), panel_in=(7.2 / max(len(shown), 2), 1.6), sharex="col", sharey="row")
    for (line, point), decisions, column in zip(shown, decided, grid.T, strict=True):
        top, middle = column[:2]
        _states(top, study.replicas(point["point"]), line.colour)
        if decisions is not None:
            _mark_changes(top, decisions, fills)
            column[2].plot(decisions["t_s"], decisions["queue_wait_p95_s"], color=line.colour, gid="queue wait")
        stepped_s = step_up_s(arrival, point["duration_s"])
        for axes in column if stepped_s is not None else ():
            axes.axvline(stepped_s, color=GREY, linestyle=":", linewidth=1, gid="step up")
        told = "" if point["verdict"] == "valid" else f"\n({point['verdict']})"
        top.set_title(f"{line.design}\n{point['offered_rps']:g} requests per second{told}")
        requests = study.requests(point["point"])
        if requests is not None:
            middle.stairs(*in_flight(requests), fill=True, facecolor=tint(line.colour, 0.55), edgecolor=line.colour)
        column[-1].set_xlabel("t_s (seconds)")
    grid[0, 0].set(ylabel="replicas\n(processes)", ylim=(0, None))
    grid[0, 0].yaxis.set_major_locator(MaxNLocator(integer=True))
    grid[1, 0].set(ylabel="in flight\n(requests, mean)", ylim=(0, None))
    if panels == 3:
        grid[2, 0].set(ylabel="queue_wait_p95_s\n(seconds)", ylim=(0, None))
    lines = list({line.label: line for line, _ in shown}.values())
    notes = [f"{arrivals_told(arrival)}, the highest rates, seed {shown[0][1]['seed']}."]
    notes.append("A triangle is a decision, at the number of replicas that it asked for." if fills else "")
    notes.append(left_out(study, lines))
    return finish(figure, study, "Replicas over time", handles=_handles(decided, fills, arrival), notes=notes)


def _points(study: Study, arrival: str) -> list[tuple[Line, pd.Series]]:
    found = []
    for line in one_each(study):
        rows = line.at(arrival).sort_values(["offered_rps", "seed"]).drop_duplicates("offered_rps")
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


def changes(decisions: pd.DataFrame) -> pd.DataFrame:
    """The decisions that changed the number of replicas, with their `way`: up or down."""
    change = decisions["target"] - decisions["ready"] - decisions["starting"]
    return decisions.assign(way=np.where(change > 0, "up", "down"))[change != 0]


def _fills(decided: Sequence[pd.DataFrame]) -> dict[str, str]:
    """A fill for each of the reasons that changed something, the most frequent first; one for all beyond those."""
    reasons = pd.concat([changes(each)["reason"] for each in decided]).value_counts() if decided else pd.Series()
    told = [str(reason) for reason in reasons.index]
    if len(told) > len(REASON_FILLS):
        told = [*told[: len(REASON_FILLS) - 1], OTHER_REASON]
    return dict(zip(told, REASON_FILLS, strict=False))


def _mark_changes(axes: Axes, decisions: pd.DataFrame, fills: dict[str, str]) -> None:
    """A triangle at each change of size, at the size wanted, filled by its reason."""
    changed = changes(decisions)
    for (way, reason), rows in changed.groupby(["way", _known(changed["reason"], fills)]):
        axes.plot(
            rows["t_s"], rows["target"], **_looks(way, fills[reason]), clip_on=False, zorder=5, gid=f"{way}: {reason}"
        )


def _known(reasons: pd.Series, fills: dict[str, str]) -> pd.Series:
    return reasons.where(reasons.isin(list(fills)), OTHER_REASON)


def _looks(way: str, fill: str) -> dict[str, Any]:
    return {"linestyle": "", "marker": WAYS[way], "color": "black", "markerfacecolor": fill, "markeredgewidth": 0.7}


def _handles(decided: Sequence[pd.DataFrame | None], fills: dict[str, str], arrival: str) -> list[Artist]:
    found: list[Artist] = [
        Patch(facecolor=tint(GREY, share), edgecolor=GREY, hatch=HATCHES[state], label=state)
        for state, share in STATES.items()
    ]
    if step_up_s(arrival, 1.0) is not None:
        found.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1, label="step up"))
    told = [changes(decisions) for decisions in decided if decisions is not None]
    marks = {
        (way, reason) for each in told for way, reason in zip(each["way"], _known(each["reason"], fills), strict=True)
    }
    found += [
        Line2D([], [], **_looks(way, fill), label=f"{way}: {reason}")
        for way in WAYS
        for reason, fill in fills.items()
        if (way, reason) in marks
    ]
    return found
