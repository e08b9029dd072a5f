"""The numbers that a figure shows: its lines, bars, bands and texts, read from the figure itself. Draws nothing."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle, StepPatch
from numpy.typing import NDArray

from ragbench.files.csv_table import write_table

COLUMNS = ("panel", "title", "kind", "series", "vertex", "x", "y")
MOST_VERTICES = 200  # of a series; a longer one is thinned to as many, evenly spaced by number
DIGITS = 6

Vertices = NDArray[np.float64]


def drawn(figure: Figure) -> pd.DataFrame:
    """A row per vertex: `panel` numbers the visible axes from 1, `series` is the artist's name or its text."""
    panels = [axes for axes in figure.axes if axes.get_visible()]
    rows = [
        (number, " ".join(axes.get_title().split()), kind, series, vertex, x, y)
        for number, axes in enumerate(panels, start=1)
        for kind, series, vertices in _artists(axes)
        for vertex, x, y in _thinned(vertices)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def drawn_csv(figure: Figure) -> str:
    """`drawn` as CSV text."""
    return write_table(COLUMNS, (map(_cell, row) for row in drawn(figure).itertuples(index=False)))


def _cell(value: object) -> object:
    """No title and no vertex are empty cells."""
    if isinstance(value, float):
        return None if np.isnan(value) else f"{value:.{DIGITS}g}"
    return None if value == "" else value


def _artists(axes: Axes) -> Iterator[tuple[str, str, Vertices]]:
    for line in axes.get_lines():
        yield "line" if line.get_linestyle() != "None" else "marks", _name(line), np.asarray(line.get_xydata(), float)
    for collection in axes.collections:
        yield from _collected(collection)
    for patch in axes.patches:
        yield "area", _name(patch), _corners(patch)
    for text in axes.texts:
        place = getattr(text, "xy", text.get_position())
        yield "text", " ".join(text.get_text().split()), np.array([place], dtype=float)


def _collected(collection: Collection) -> Iterator[tuple[str, str, Vertices]]:
    if isinstance(collection, LineCollection):
        segments = [np.asarray(segment, float) for segment in collection.get_segments()]
        yield "bars", _name(collection), np.concatenate(segments) if segments else np.empty((0, 2))
        return
    for path in collection.get_paths():
        yield "band", _name(collection), np.asarray(path.vertices, float)


def _corners(patch: Patch) -> Vertices:
    """Two opposite corners of a bar; edges and heights of steps; else the outline."""
    if isinstance(patch, Rectangle):
        return np.array([patch.get_xy(), np.add(patch.get_xy(), (patch.get_width(), patch.get_height()))], dtype=float)
    if isinstance(patch, StepPatch):
        values, edges, _ = patch.get_data()
        return np.column_stack([edges[:-1], values])
    return np.asarray(patch.get_path().vertices, float)


def _name(artist: Artist) -> str:
    """Label and gid, less the labels that matplotlib makes up."""
    label = str(artist.get_label())
    return ", ".join(part for part in (label if not label.startswith("_") else "", artist.get_gid() or "") if part)


def _thinned(vertices: Vertices) -> Iterator[tuple[int, float, float]]:
    kept = np.unique(np.linspace(0, len(vertices) - 1, min(len(vertices), MOST_VERTICES)).astype(int))
    for vertex in kept:
        yield int(vertex), float(vertices[vertex, 0]), float(vertices[vertex, 1])
