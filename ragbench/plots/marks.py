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
    """One line of `column` against load: a mark a run, hollow where not valid, the runs of a seed joined.

    A run with nothing to put on a log axis is a gap in the line and a cross at the edge: the top for a latency, which
    is infinite where too few were answered, else the bottom.
    """
    shown = runs(line.at(arrival), column, by=by)
    shown["value"] = shown["value"].where(shown["value"] > 0)
    own_looks: dict[str, Any] = {"color": line.colour, "label": line.label}
    seeds = shown.groupby("seed")
    for _, own in seeds:
        width = line.width if len(seeds) == 1 else min(line.width, SEED_WIDTH)
        looks = {**own_looks, "linestyle": line.dash, "linewidth": width, "zorder": 3}
        axes.plot(own["load"], own["value"], **looks)
    known = shown.dropna(subset="value")
    axes.vlines(*known[["load", "low", "high"]].dropna().to_numpy().T, **own_looks, linewidth=1, zorder=3)
    size = line.width + (1.8 if line.is_simulated else 3.6)
    for gid, face, rows in by_validity(known, line.colour):
        looks = {**own_looks, "markersize": size, "markerfacecolor": face, "zorder": 4}
        axes.plot(rows["load"], rows["value"], line.marker, **looks, gid=gid)
    edge = 1.0 if column.startswith("latency") else 0.0
    edge_crosses(axes, shown[shown["value"].isna()], edge=edge, colour=line.colour)
    mark_shares(axes, known, colour=line.colour)


def by_validity(rows: pd.DataFrame, colour: Colour) -> Iterator[tuple[str, Colour, pd.DataFrame]]:
    """The runs that are valid and those that are not: gid, the fill of their marks, rows."""
    for gid, own in rows.groupby((rows["verdict"] == "valid").map({True: "valid", False: "not valid"})):
        yield str(gid), colour if gid == "valid" else "white", own


def edge_crosses(axes: Axes, missing: pd.DataFrame, *, edge: float, colour: Colour) -> None:
    """`runs` without a value, at this height of the panel, 0..1."""
    place = axes.get_xaxis_transform()
    for load, rows in missing.groupby("load"):
        axes.plot(load, edge, "x", color=colour, transform=place, clip_on=False, zorder=5, gid="no value")
        mark_shares(axes, rows.assign(value=edge), colour=colour, edge=edge)


def mark_shares(axes: Axes, shown: pd.DataFrame, *, colour: Colour, edge: float | None = None) -> None:
    """The share answered, beside `runs` that left many unanswered; `edge`: their values are heights of the panel.

    The runs of one load, its seeds, share a text, beside the highest: two would lie upon each other. At the edge the
    crosses of several lines may lie on one place, so that their shares stand one below the other.
    """
    for load, own in shown[few_answered(shown["verdict"], shown["answered_share"])].groupby("load"):
        above = sum(text.xyann[0] == _BESIDE and text.xy == (load, edge) for text in _annotations(axes))
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


def _annotations(axes: Axes) -> list[Annotation]:
    return [text for text in axes.texts if isinstance(text, Annotation)]


def draw_due(axes: Axes, points: pd.DataFrame) -> None:
    """What was due in the window, dashed, a line per seed: where throughput lies if everything is answered.

    `points`: rows of one arrival process. Of results from before `due_rps` it is the rate that was asked for.
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
    """Legend entries of the designs; without dashes and marks where a figure gives those no meaning."""
    looks = [{"linestyle": line.dash, "marker": line.marker} if is_marked else {"linestyle": "-"} for line in lines]
    return [
        Line2D([], [], color=line.colour, linewidth=line.width, label=line.label, **look)
        for line, look in zip(lines, looks, strict=True)
    ]


def mark_handles(lines: Sequence[Line], *columns: str) -> list[Artist]:
    """Legend entries for the marks that occur where `columns` are drawn: hollow, cross, runs or intervals."""
    rows = pd.concat([line.points for line in lines])
    rows = rows[rows["requests"] != 0]
    has_value = (rows[list(columns)] > 0).any(axis=1) & (rows["verdict"] != "valid")
    found: list[Artist] = []
    if has_value.any():
        found.append(_mark("o", hollow(rows[has_value]), markerfacecolor="white"))
    if not (rows[list(columns)] > 0).all(axis=None):
        found.append(_mark("x", "at the edge: no value, too few were answered"))
    if rows["seed"].nunique() > 1:
        found.append(_mark(".", "a mark is a run, a line is a seed"))
    elif _has_interval(rows[rows["verdict"] == "valid"], columns):
        found.append(_mark("|", "95% interval within the run; none where too short", markersize=9))
    return found


def hollow(points: pd.DataFrame) -> str:
    """What a hollow mark says: which verdicts `points` have, in the order of their rules, and what stands beside it."""
    verdicts = points.loc[points["verdict"] != "valid", "verdict"]
    order = [rule.verdict for rule in RULES]
    found = sorted(set(verdicts), key=lambda name: (order.index(name) if name in order else -1, name))
    share = "; %: share answered" if few_answered(points["verdict"], answered_share(points)).any() else ""
    return f"hollow: not valid ({', '.join(found)}){share}"


def _has_interval(rows: pd.DataFrame, columns: Sequence[str]) -> bool:
    known = [bound(column, "low") for column in columns if bound(column, "low") in rows]
    return bool(rows[known].notna().any(axis=None))


def _mark(marker: str, label: str, **looks: str | float) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color=GREY, label=label, **looks)  # type: ignore[arg-type]
