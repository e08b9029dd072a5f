"""Colours, markers, labels and captions of all figures of a retrieval study."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ragbench.plots.lines import MARKERS, OTHER_COLOURS, tint
from ragbench.plots.style import GREY, lay_out
from ragbench.retrieval.results import Results

COLOURS = {
    "plain": "#333333",
    "numpy": "#0072B2",
    "torch": "#009E73",
    "faiss": "#CC79A7",
    "cupy": "#E69F00",
}
UNITS = {
    "queries_per_s": "1/s",
    "search_s": "seconds",
    "index_mib": "MiB",
    "inertia": "sum of squared distances",
    "recall_at_k": "share of the exact answer",
}
_VARIED = ("device", "storage", "memory_mib", "dtype")
_PLAIN = {"device": "cpu", "storage": "memory", "dtype": "float32"}


@dataclass(frozen=True, slots=True)
class Contender:
    """A backend on a device, with a dtype and a storage; `rows` are its cells.

    Dashed: on a GPU; dotted: from a file.
    """

    label: str
    colour: tuple[float, ...] | str
    marker: str
    dash: str
    rows: pd.DataFrame

    def having(self, rows: pd.DataFrame) -> "Contender":
        """The same with only those of its rows that are in `rows`."""
        return replace(self, rows=self.rows[self.rows.index.isin(rows.index)])

    def draw(self, axes: Axes, x: str, y: str, **looks: Any) -> None:
        """A line through its rows, column `y` against `x`; `looks` override its own style."""
        own = {"color": self.colour, "linestyle": self.dash, "marker": self.marker, "markersize": 4, "gid": self.label}
        axes.plot(self.rows[x].astype(float), self.rows[y], **(own | looks))


def contenders(rows: pd.DataFrame) -> list[Contender]:
    """One per backend, device, dtype and storage; backends in the order of COLOURS, then others as they come."""
    backends, shown = dict.fromkeys([*COLOURS, *rows["backend"]]), []
    for number, backend in enumerate(backends):
        colour = COLOURS.get(backend) or OTHER_COLOURS[4 + (number - len(COLOURS)) % 4]
        for place, (settings, group) in enumerate(_choices(rows[rows["backend"] == backend])):
            dash = ":" if settings["storage"] == "file" else "--" if settings["device"] == "cuda" else "-"
            # A GPU has the full colour of its backend too: its dashes set it apart.
            tinted = tint(colour, 0.0 if settings["dtype"] == "float32" else min(0.3 * place, 0.6))
            marker = MARKERS[number % len(MARKERS)]
            shown.append(Contender(_label(backend, settings), tinted, marker, dash, group))
    return shown


def _choices(rows: pd.DataFrame) -> list[tuple[dict[str, object], pd.DataFrame]]:
    """The rows by the other settings that vary; the default settings first."""
    groups = [(dict(zip(_VARIED, key, strict=True)), group) for key, group in rows.groupby(list(_VARIED), dropna=False)]
    return sorted(groups, key=lambda choice: [choice[0][name] != value for name, value in _PLAIN.items()])


def _label(backend: str, settings: dict[str, object]) -> str:
    parts = [str(value) for name, value in settings.items() if name in _PLAIN and value != _PLAIN[name]]
    cap = settings["memory_mib"]
    return ", ".join([backend, *parts, *([] if pd.isna(cap) else [f"{cap} MiB"])])


def handles_of(shown: Sequence[Contender], *, marker: str | None = None) -> list[Artist]:
    """Legend entries; `marker` replaces theirs where it means something else in the figure, "" for none."""
    return [
        Line2D([], [], color=c.colour, linestyle=c.dash, marker=c.marker if marker is None else marker, label=c.label)
        for c in shown
    ]


def mark(marker: str, label: str, **looks: Any) -> Line2D:
    """A legend entry in grey: a mark, or the line that `looks` says."""
    return Line2D([], [], **{"linestyle": "", "marker": marker, "color": GREY, "label": label, **looks})


def axis_label(column: str) -> str:
    """A column's name, as in the CSV, and its unit."""
    return f"{column} ({UNITS[column]})"


def data_set_text(rows: pd.DataFrame) -> str:
    """The data set of the rows: metric, data, n and d."""
    first = rows.iloc[0]
    return f"{first['metric']}, {first['data']}\nn {first['n']:,}, d {first['d']:,}"


def short(value: float, _position: int | None = None) -> str:
    """A large whole number for a tick: 4k, 4M."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def under(place: int) -> dict[str, float]:
    """Width and marker size of a line by its place, so that lines that coincide are all visible."""
    return {"linewidth": max(2.6 - 0.6 * place, 0.8), "markersize": max(7.0 - 1.2 * place, 2.5)}


def pinned(rows: pd.DataFrame, *columns: str) -> str:
    """The columns with a single value in all rows, as part of the caption."""
    known = [(name, rows[name].dropna().unique()) for name in columns]
    shown = ", ".join(f"{name} {_text(values[0])}" for name, values in known if len(values) == 1)
    return f"Shown: {shown}" if shown else ""


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{int(value):,}"


def finish(
    figure: Figure, results: Results, title: str, *, handles: Sequence[Artist], notes: Sequence[str] = ()
) -> Figure:
    """The title, the legend, and a caption that ends with study and machine."""
    threads = results.cells["threads"].unique()
    same = f"threads {threads[0]}, " if len(threads) == 1 else ""
    where = " and on ".join(results.hardware) or "unnamed hardware"
    notes = [note if note.endswith(".") else f"{note}." for note in notes if note]
    return lay_out(
        figure, title, handles=handles, caption=[*notes, f"Study {results.name}, {same}measured on {where}."]
    )
