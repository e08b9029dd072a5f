"""How a run is marked in a figure against load, and what the legend says of the marks. Lays out no page."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from ragbench.plots.lines import Line, answered_share, runs
from ragbench.plots.style import GREY
from ragbench.results.metrics import bound
from ragbench.statistics.verdicts import RULES, UNANSWERED_SHARE

DUE_LOOKS: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (4, 2)), "marker": "_", "markersize": 13}
SEED_WIDTH = 0.8
_BESIDE, _LINE = 4, 7  # points from a mark to the text beside it, and from one line of such text to the next
Colour = str | tuple[float, ...]


def draw_line(axes: Axes, line: Line, arrival: str, column: str, *, by: str = "offered_rps") -> None:
    """One line of `column` against load: a mark per run, hollow where not valid, the runs of a seed joined.

    A run without a value above 0 is a gap in the line and a cross at the edge: at the top for a latency, which is
    infinite where too few were answered, else at the bottom.
    """
    shown = runs(line.at(arrival), column, by=by)
    shown["value"] = shown["value"].where(shown["value"] > 0)
    looks: dict[str, Any] = {"color": line.colour, "label": line.label}
    seeds = shown.groupby("seed")
    width = line.width if len(seeds) == 1 else min(line.width, SEED_WIDTH)
    for _, own in seeds:
        axes.plot(own["load"], own["value"], **looks, linestyle=line.dash, linewidth=width, zorder=3)
    known = shown.dropna(subset="value")
    axes.vlines(*known[["load", "low", "high"]].dropna().to_numpy().T, **looks, linewidth=1, zorder=3)
    looks |= {"markersize": line.width + (1.8 if line.is_simulated else 3.6), "zorder": 4}
    for gid, face, rows in by_validity(known, line.colour):
        axes.plot(rows["load"], rows["value"], line.marker, **looks, markerfacecolor=face, gid=gid)
    edge = 1.0 if column.startswith("latency") else 0.0
    edge_crosses(axes, shown[shown["value"].isna()], edge=edge, colour=line.colour)
    mark_shares(axes, known, colour=line.colour)


def by_validity(rows: pd.DataFrame, colour: Colour) -> Iterator[tuple[str, Colour, pd.DataFrame]]:
    """The valid runs and the others: gid, fill of their marks, rows."""
    for gid, own in rows.groupby((rows["verdict"] == "valid").map({True: "valid", False: "not valid"})):
        yield str(gid), colour if gid == "valid" else "white", own


def edge_crosses(axes: Axes, missing: pd.DataFrame, *, edge: float, colour: Colour) -> None:
    """Crosses for `runs` without a value, at the height `edge` of the panel, 0..1."""
    place = axes.get_xaxis_transform()
    for load, rows in missing.groupby("load"):
        axes.plot(load, edge, "x", color=colour, transform=place, clip_on=False, zorder=5, gid="no value")
        mark_shares(axes, rows.assign(value=edge), colour=colour, edge=edge)


def mark_shares(axes: Axes, shown: pd.DataFrame, *, colour: Colour, edge: float | None = None) -> None:
    """The share answered, beside `runs` that left many unanswered; `edge`: their values are heights of the panel.

    The runs of one load have one text beside the highest, since two would overlap. At the edge the crosses of several
    lines may lie in one place: their texts stand one below the other.
    """
    for load, own in shown[few_answered(shown["verdict"], shown["answered_share"])].groupby("load"):
        annotations = [text for text in axes.texts if isinstance(text, Annotation)]
        above = sum(text.xyann[0] == _BESIDE and text.xy == (load, edge) for text in annotations)
        axes.annotate(
            _from_to(own["answered_share"]),
            (load, own["value"].max()),
            (_BESIDE, 3 if edge is None else -_LINE * (above + (edge > 0))),
            xycoords="data" if edge is None else axes.get_xaxis_transform(),
            textcoords="offset points",
            fontsize=6,
            color=colour,
            gid="answered_share",
        )


def _from_to(shares: "pd.Series[float]") -> str:
    """66%, or 66 to 72%."""
    low, high = f"{shares.min():.0%}", f"{shares.max():.0%}"
    return high if low == high else f"{low[:-1]} to {high}"


def few_answered(verdicts: "pd.Series[str]", shares: "pd.Series[float]") -> "pd.Series[bool]":
    """Which runs are not valid and left more requests unanswered than a valid one may."""
    return (verdicts != "valid") & (shares < 1 - UNANSWERED_SHARE)


def draw_due(axes: Axes, points: pd.DataFrame) -> None:
    """Requests due per second, dashed, a line per seed: where throughput lies if everything is answered.

    `points`: rows of one arrival process. Where `due_rps` is empty, as in older results, it is the offered rate.
    """
    due = points.assign(due_rps=points["due_rps"].fillna(points["offered_rps"])).sort_values(["offered_rps", "seed"])
    for _, own in due.drop_duplicates(["offered_rps", "seed"]).groupby("seed"):
        axes.plot(own["offered_rps"], own["due_rps"], **DUE_LOOKS, zorder=1, gid="due_rps")


def due_handle(points: pd.DataFrame) -> Line2D:
    """The legend entry of `draw_due`."""
    is_known = points["due_rps"].notna().all()
    line = "due_rps: all that was due" if is_known else "offered_rps, of which a seed draws more or less"
    return Line2D([], [], **DUE_LOOKS, label=f"dashed: {line}")


def line_handles(lines: Sequence[Line], *, is_marked: bool = True) -> list[Artist]:
    """Legend entries of the lines; solid and without marks where a figure gives dashes and marks no meaning."""
    handles: list[Artist] = []
    for line in lines:
        looks: dict[str, Any] = {"linestyle": line.dash, "marker": line.marker} if is_marked else {"linestyle": "-"}
        handles.append(Line2D([], [], color=line.colour, linewidth=line.width, label=line.label, **looks))
    return handles


def mark_handles(lines: Sequence[Line], *columns: str) -> list[Artist]:
    """Legend entries for the marks that occur where `columns` are drawn: hollow, cross, runs or intervals."""
    rows = pd.concat([line.points for line in lines])
    rows = rows[rows["requests"] != 0]
    has_value = (rows[list(columns)] > 0).any(axis=1) & (rows["verdict"] != "valid")
    handles: list[Artist] = hollow_handles(rows[has_value])
    if not (rows[list(columns)] > 0).all(axis=None):
        handles.append(mark_handle("x", "at the edge: no value, too few were answered"))
    lows = [bound(column, "low") for column in columns if bound(column, "low") in rows]
    if rows["seed"].nunique() > 1:
        handles.append(mark_handle(".", "a mark is a run, a line is a seed"))
    elif rows.loc[rows["verdict"] == "valid", lows].notna().any(axis=None):
        handles.append(mark_handle("|", "95% interval within the run; none where too short", markersize=9))
    return handles


def hollow_handles(points: pd.DataFrame, **looks: Any) -> list[Artist]:
    """The legend entry of hollow marks: the verdicts of the `points` that are not valid; none where all are."""
    verdicts = set(points.loc[points["verdict"] != "valid", "verdict"])
    if not verdicts:
        return []
    order = [rule.verdict for rule in RULES if rule.verdict in verdicts]
    share = "; %: share answered" if few_answered(points["verdict"], answered_share(points)).any() else ""
    label = f"hollow: not valid ({', '.join(order)}){share}"
    return [mark_handle("o", label, markerfacecolor="white", **looks)]


def mark_handle(marker: str, label: str, **looks: Any) -> Line2D:
    """A legend entry for a mark, in grey unless `looks` has a colour."""
    return Line2D([], [], **{"linestyle": "", "marker": marker, "color": GREY, "label": label} | looks)
