"""Replicas over time with the decisions on them, over the load that moved them and the queue wait that it caused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ragbench.plots.lines import Line, left_out, one_each, tint
from ragbench.plots.style import GREY, arrivals_title, finish, page, styled
from ragbench.results.folder import Study, open_loop
from ragbench.statistics.in_flight import mean_in_flight
from ragbench.study.arrivals import step_up_s

STATES = {"ready": 0.0, "starting": 0.55, "draining": 0.85}
HATCHES = {"ready": None, "starting": "////", "draining": "\\\\\\\\"}
WAYS = {"up": "^", "down": "v"}
REASON_FILLS = ("black", "white", "#9a9a9a", "#f0c000")
OTHER_REASON = "another reason"
MOST_COLUMNS = 4
SLICES = 80
WINDOW_S = 5.0


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of one point: its counts, and where they were reported or kept its decisions and rows."""

    line: Line
    point: pd.Series
    counts: pd.DataFrame
    decisions: pd.DataFrame | None
    requests: pd.DataFrame | None

    def queue_wait(self) -> tuple[np.ndarray, np.ndarray]:
        """`queue_wait_p95_s` at moments of the point: of its own answers, else as the autoscaler saw it; may be empty.

        What an autoscaler saw within a window's length of the start was of the load before, and is absent.
        """
        if self.requests is not None and self.requests["queue_s"].notna().any():
            return queue_wait_p95(self.requests)
        if self.decisions is None or self.decisions["queue_wait_p95_s"].isna().all():
            return np.array([]), np.array([])
        return self.decisions["t_s"].to_numpy(dtype=float), self.decisions["queue_wait_p95_s"].to_numpy(dtype=float)


@styled
@open_loop
def replicas(study: Study) -> Figure | None:
    """Replicas by state, requests in flight and queue wait through a point, the highest rates as columns.

    At arrivals that step, or the study's main process, and its first seed; the marks of decisions where a server
    reported them, a panel of what is in flight and of the queue wait where it is known. None where no server reported
    its replicas.
    """
    arrival = next((each for each in study.arrivals if each.partition(":")[0] == "step"), study.main_arrival)
    shown = _points(study, arrival)
    if not shown:
        return None
    fills = _fills([each.decisions for each in shown if each.decisions is not None])
    drawers: list[Callable[[Axes, Observed], None]] = [partial(_replicas, fills=fills)]
    drawers += [_in_flight] if any(each.requests is not None for each in shown) else []
    drawers += [_queue_wait] if any(len(each.queue_wait()[0]) for each in shown) else []
    figure, grid = page(len(drawers), len(shown), panel_in=(7.2 / max(len(shown), 2), 1.6), sharex="col", sharey="row")
    for each, column in zip(shown, grid.T, strict=True):
        stepped_s = step_up_s(arrival, each.point["duration_s"])
        for axes, draw in zip(column, drawers, strict=True):
            draw(axes, each)
            if stepped_s is not None:
                axes.axvline(stepped_s, color=GREY, linestyle=":", linewidth=1, gid="step up")
        verdict = "" if each.point["verdict"] == "valid" else f"\n({each.point['verdict']})"
        column[0].set_title(f"{each.line.design}\n{each.point['offered_rps']:g} requests per second{verdict}")
        column[-1].set_xlabel("t_s (seconds)")
    for row, draw in zip(grid, drawers, strict=True):
        row[0].set(ylabel=YLABELS.get(draw, "replicas\n(processes)"), ylim=(0, None))
    grid[0, 0].yaxis.set_major_locator(MaxNLocator(integer=True))
    lines = list({each.line.label: each.line for each in shown}.values())
    notes = [f"{arrivals_title(arrival)}, the highest rates, seed {shown[0].point['seed']}."]
    notes.append("A triangle is a decision, at the number of replicas that it asked for." if fills else "")
    notes.append(
        f"Queue wait: p95 over the {WINDOW_S:g} s before, of this load alone." if _queue_wait in drawers else ""
    )
    notes.append(left_out(study, lines))
    return finish(figure, study, "Replicas over time", handles=_handles(shown, fills, arrival), notes=notes)


def _replicas(axes: Axes, observed: Observed, *, fills: dict[str, str]) -> None:
    _states(axes, observed.counts, observed.line.colour)
    if observed.decisions is not None:
        _mark_changes(axes, observed.decisions, fills)


def _in_flight(axes: Axes, observed: Observed) -> None:
    if observed.requests is not None:
        colour = observed.line.colour
        axes.stairs(*in_flight(observed.requests), fill=True, facecolor=tint(colour, 0.55), edgecolor=colour)


def _queue_wait(axes: Axes, observed: Observed) -> None:
    axes.plot(*observed.queue_wait(), color=observed.line.colour, gid="queue wait", label=observed.line.label)


YLABELS: dict[Callable[[Axes, Observed], None], str] = {
    _in_flight: "in flight\n(requests, mean)",
    _queue_wait: "queue_wait_p95_s\n(seconds)",
}


def _points(study: Study, arrival: str) -> list[Observed]:
    found = []
    for line in one_each(study):
        rows = line.at(arrival).sort_values(["offered_rps", "seed"]).drop_duplicates("offered_rps")
        observed = [_observed(study, line, row) for _, row in rows.iterrows()]
        found.append([each for each in observed if each is not None])
    scaling = [points for points in found if points]
    each = max(1, MOST_COLUMNS // max(len(scaling), 1))
    return [point for points in scaling[:MOST_COLUMNS] for point in points[-each:]]


def _observed(study: Study, line: Line, row: pd.Series) -> Observed | None:
    counts = study.replicas(row["point"])
    if counts is None or counts.empty:
        return None
    return Observed(line, row, counts, study.scaling(row["point"]), study.requests(row["point"]))


def _states(axes: Axes, samples: pd.DataFrame, colour: tuple[float, ...]) -> None:
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


def queue_wait_p95(requests: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """At SLICES moments (n,) s, the p95 (nearest rank) of the `queue_s` of answers of the WINDOW_S before (n,) s.

    NaN where there was none. As a fleet's autoscaler sees it, less what was answered of any other load.
    """
    answered = requests.dropna(subset=["done_s", "queue_s"])
    done_s, wait_s = answered["done_s"].to_numpy(dtype=float), answered["queue_s"].to_numpy(dtype=float)
    moments = np.linspace(0, max(done_s, default=1.0), SLICES + 1)[1:]
    windows = [np.sort(wait_s[(done_s > t_s - WINDOW_S) & (done_s <= t_s)]) for t_s in moments]
    return moments, np.array([waits[ceil(0.95 * len(waits)) - 1] if len(waits) else np.nan for waits in windows])


def changes(decisions: pd.DataFrame) -> pd.DataFrame:
    """The decisions that changed the number of replicas, with their `way`: up or down."""
    change = decisions["target"] - decisions["ready"] - decisions["starting"]
    return decisions.assign(way=np.where(change > 0, "up", "down"))[change != 0]


def _fills(decided: Sequence[pd.DataFrame]) -> dict[str, str]:
    """A fill for each of the reasons that changed something, the most frequent first; one for all beyond those."""
    reasons = pd.concat([changes(each)["reason"] for each in decided]).value_counts() if decided else pd.Series()
    kept = [str(reason) for reason in reasons.index]
    if len(kept) > len(REASON_FILLS):
        kept = [*kept[: len(REASON_FILLS) - 1], OTHER_REASON]
    return dict(zip(kept, REASON_FILLS, strict=False))


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


def _handles(shown: Sequence[Observed], fills: dict[str, str], arrival: str) -> list[Artist]:
    found: list[Artist] = [
        Patch(facecolor=tint(GREY, share), edgecolor=GREY, hatch=HATCHES[state], label=state)
        for state, share in STATES.items()
    ]
    if step_up_s(arrival, 1.0) is not None:
        found.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1, label="step up"))
    decided = [changes(each.decisions) for each in shown if each.decisions is not None]
    marks = {pair for each in decided for pair in zip(each["way"], _known(each["reason"], fills), strict=True)}
    found += [
        Line2D([], [], **_looks(way, fill), label=f"{way}: {reason}")
        for way in WAYS
        for reason, fill in fills.items()
        if (way, reason) in marks
    ]
    return found
