"""Replicas over time with the autoscaler's decisions, above requests in flight and queue wait."""

from collections.abc import Callable
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
from ragbench.results.records import DECISIONS
from ragbench.statistics.in_flight import mean_in_flight
from ragbench.study.arrivals import step_up_s

SHADES = {"ready": 0.0, "starting": 0.55, "draining": 0.85}  # of a state, as the share of white
HATCHES = {"ready": None, "starting": "////", "draining": "\\\\\\\\"}
MARKERS = {"up": "^", "down": "v"}
REASON_FILLS = ("black", "white", "#9a9a9a", "#f0c000")
OTHER_REASON = "another reason"
MOST_COLUMNS = 4
SLICES = 80
WINDOW_S = 5.0
STEP_UP: dict[str, Any] = {"color": GREY, "linestyle": ":", "linewidth": 1}
Series = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class Observed:
    """One point: its summary row, replica counts, decisions that changed the fleet, and requests where they are kept.

    `waits`: moments (n,) s and the p95 of the queue wait at each (n,) s; empty where neither tells it.
    """

    line: Line
    row: pd.Series
    counts: pd.DataFrame
    decisions: pd.DataFrame
    requests: pd.DataFrame | None
    waits: Series


@styled
@open_loop
def replicas(study: Study) -> Figure | None:
    """Replicas by state, requests in flight and queue wait through a point, the highest rates as columns.

    At arrivals that step, or the study's main process, and its first seed. Decisions are marked where a server reported
    them; requests in flight and queue wait have a panel where they are known. None where no server reported replicas.
    """
    arrival = next((name for name in study.arrivals if name.partition(":")[0] == "step"), study.main_arrival)
    shown = _points(study, arrival)
    if not shown:
        return None
    changed = pd.concat([point.decisions for point in shown])
    fills = _fills(changed)
    has_waits = any(len(point.waits[0]) for point in shown)
    drawers: dict[str, Callable[[Axes, Observed], None]] = {"replicas\n(processes)": partial(_replicas, fills=fills)}
    if any(point.requests is not None for point in shown):
        drawers["in flight\n(requests, mean)"] = _in_flight
    if has_waits:
        drawers["queue_wait_p95_s\n(seconds)"] = _queue_wait
    figure, grid = page(len(drawers), len(shown), panel_in=(7.2 / max(len(shown), 2), 1.6), sharex="col", sharey="row")
    for point, column in zip(shown, grid.T, strict=True):
        stepped_s = step_up_s(arrival, point.row["duration_s"])
        for axes, draw in zip(column, drawers.values(), strict=True):
            draw(axes, point)
            if stepped_s is not None:
                axes.axvline(stepped_s, **STEP_UP, gid="step up")
        verdict = "" if point.row["verdict"] == "valid" else f"\n({point.row['verdict']})"
        column[0].set_title(f"{point.line.design}\n{point.row['offered_rps']:g} requests per second{verdict}")
        column[-1].set_xlabel("t_s (seconds)")
    for row, label in zip(grid, drawers, strict=True):
        row[0].set(ylabel=label, ylim=(0, None))
    grid[0, 0].yaxis.set_major_locator(MaxNLocator(integer=True))
    notes = [
        f"{arrivals_title(arrival)}, the highest rates, seed {shown[0].row['seed']}.",
        "A triangle is a decision, at the number of replicas that it asked for." if fills else "",
        f"Queue wait: p95 over the {WINDOW_S:g} s before, of this load alone." if has_waits else "",
        left_out(study, list({point.line.label: point.line for point in shown}.values())),
    ]
    return finish(figure, study, "Replicas over time", handles=_handles(changed, fills, arrival), notes=notes)


def _points(study: Study, arrival: str) -> list[Observed]:
    """The points with replicas: as many of each line's highest rates as make MOST_COLUMNS columns."""
    by_line = []
    for line in one_each(study):
        rows = line.at(arrival).sort_values(["offered_rps", "seed"]).drop_duplicates("offered_rps")
        points = [_observed(study, line, row) for _, row in rows.iterrows()]
        by_line.append([point for point in points if point is not None])
    by_line = [points for points in by_line if points]
    most = max(1, MOST_COLUMNS // max(len(by_line), 1))
    return [point for points in by_line[:MOST_COLUMNS] for point in points[-most:]]


def _observed(study: Study, line: Line, row: pd.Series) -> Observed | None:
    counts, decisions, requests = (
        study.replicas(row["point"]),
        study.scaling(row["point"]),
        study.requests(row["point"]),
    )
    if counts is None or counts.empty:
        return None
    if decisions is None:
        decisions = pd.DataFrame(columns=DECISIONS.columns)
    return Observed(line, row, counts, changes(decisions), requests, _queue_waits(requests, decisions))


def _replicas(axes: Axes, observed: Observed, *, fills: dict[str, str]) -> None:
    """The states as bands, one on the other, and a triangle at each change of size, at the size wanted."""
    base, colour = np.zeros(len(observed.counts)), observed.line.colour
    for state, share in SHADES.items():
        top = base + observed.counts[state].to_numpy(dtype=float)
        looks: dict[str, Any] = {"facecolor": tint(colour, share), "edgecolor": colour, "hatch": HATCHES[state]}
        axes.fill_between(observed.counts["t_s"], base, top, step="post", **looks, linewidth=0.4, gid=state)
        base = top
    for (way, reason), rows in observed.decisions.groupby(["way", _shown_reason(observed.decisions, fills)]):
        looks = _triangle(way, fills[reason])
        axes.plot(rows["t_s"], rows["target"], **looks, clip_on=False, zorder=5, gid=f"{way}: {reason}")


def _in_flight(axes: Axes, observed: Observed) -> None:
    if observed.requests is not None:
        colour = observed.line.colour
        axes.stairs(*in_flight(observed.requests), fill=True, facecolor=tint(colour, 0.55), edgecolor=colour)


def _queue_wait(axes: Axes, observed: Observed) -> None:
    axes.plot(*observed.waits, color=observed.line.colour, gid="queue wait", label=observed.line.label)


def in_flight(requests: pd.DataFrame) -> Series:
    """Requests due and not yet done, averaged over each of SLICES slices of a point: means (n,), edges (n + 1,) s.

    A request that was never done stays in flight to the end.
    """
    starts, ends = (requests[name].dropna().to_numpy(dtype=float) for name in ("due_s", "done_s"))
    edges = np.linspace(0, max([*starts, *ends], default=1.0), SLICES + 1)
    return mean_in_flight(starts, ends, edges), edges


def _queue_waits(requests: pd.DataFrame | None, decisions: pd.DataFrame) -> Series:
    """`queue_wait_p95_s` through the point: of its own answers, else as the autoscaler saw it; may be empty.

    What an autoscaler saw within a window's length of the start was of the load before, and is absent.
    """
    if requests is not None and requests["queue_s"].notna().any():
        return queue_wait_p95(requests)
    known = decisions if decisions["queue_wait_p95_s"].notna().any() else decisions[:0]
    return known["t_s"].to_numpy(dtype=float), known["queue_wait_p95_s"].to_numpy(dtype=float)


def queue_wait_p95(requests: pd.DataFrame) -> Series:
    """At SLICES moments (n,) s, the p95 (nearest rank) of the `queue_s` of the answers of the WINDOW_S before (n,) s.

    NaN where there was none. It is what a fleet's autoscaler sees, less the answers to any other load.
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


def _fills(changed: pd.DataFrame) -> dict[str, str]:
    """A fill for each reason of a change, the most frequent first; one for all reasons beyond those."""
    reasons = list(map(str, changed["reason"].value_counts().index))
    if len(reasons) > len(REASON_FILLS):
        reasons = [*reasons[: len(REASON_FILLS) - 1], OTHER_REASON]
    return dict(zip(reasons, REASON_FILLS, strict=False))


def _shown_reason(changed: pd.DataFrame, fills: dict[str, str]) -> pd.Series:
    return changed["reason"].where(changed["reason"].isin(list(fills)), OTHER_REASON)


def _triangle(way: str, fill: str) -> dict[str, Any]:
    return {"linestyle": "", "marker": MARKERS[way], "color": "black", "markerfacecolor": fill, "markeredgewidth": 0.7}


def _handles(changed: pd.DataFrame, fills: dict[str, str], arrival: str) -> list[Artist]:
    handles: list[Artist] = [
        Patch(facecolor=tint(GREY, share), edgecolor=GREY, hatch=HATCHES[state], label=state)
        for state, share in SHADES.items()
    ]
    if step_up_s(arrival, 1.0) is not None:
        handles.append(Line2D([], [], **STEP_UP, label="step up"))
    marks = set(zip(changed["way"], _shown_reason(changed, fills), strict=True))
    pairs = [(way, reason) for way in MARKERS for reason in fills if (way, reason) in marks]
    return handles + [Line2D([], [], **_triangle(way, fills[r]), label=f"{way}: {r}") for way, r in pairs]
