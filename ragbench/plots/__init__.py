"""The figures of a study, one function each. A new one is a function and a line in FIGURES; nothing here measures."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter

from ragbench.files.whole_file import refuse_link, write_whole
from ragbench.plots.against_load import batches, latency, throughput, users
from ragbench.plots.arrivals import arrivals
from ragbench.plots.distribution import distribution
from ragbench.plots.drawn import drawn_csv
from ragbench.plots.overload import overload
from ragbench.plots.replicas import replicas
from ragbench.plots.stages import stages
from ragbench.plots.style import DPI, RC
from ragbench.results.folder import Study, load_study
from ragbench.results.paths import StudyPaths
from ragbench.terminal import plain

__all__ = ["DPI", "FIGURES", "Study", "drawn_path", "keep", "load_study", "remove", "rendered", "save", "save_all"]

_Study = TypeVar("_Study")

# None from a figure's function: this study has nothing to show for it.
FIGURES: dict[str, Callable[[Study], Figure | None]] = {
    "latency": latency,
    "throughput": throughput,
    "overload": overload,
    "batches": batches,
    "arrivals": arrivals,
    "stages": stages,
    "distribution": distribution,
    "replicas": replicas,
    "users": users,
}


def save_all(folder: str | Path) -> list[Path]:
    """Write every figure the study has into its `figures/`, as `save` does; returns the files."""
    study = load_study(folder)
    return save(study, FIGURES, StudyPaths(study.folder).figures)


def save(study: _Study, figures: Mapping[str, Callable[[_Study], Figure | None]], folder: Path) -> list[Path]:
    """Write every figure the study has into `folder`, as `keep` does; returns the files.

    A figure of an earlier run that the study no longer has is removed. Raises RecordError where `folder` is a link.
    """
    refuse_link(folder)
    folder.mkdir(exist_ok=True)
    written = []
    for name, draw in figures.items():
        figure = draw(study)
        if figure is None:
            remove(folder, name)
        else:
            written += keep(figure, folder, name)
    return written


def keep(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG, and the numbers it shows as CSV, each whole or not at all; returns the files."""
    contents = [rendered(figure, "png"), rendered(figure, "svg"), drawn_csv(figure).encode()]
    paths = _paths(folder, name)
    for path, content in zip(paths, contents, strict=True):
        write_whole(path, content)
    return paths


def remove(folder: Path, name: str) -> None:
    """Remove a figure that may be there."""
    for path in _paths(folder, name):
        path.unlink(missing_ok=True)


def _paths(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}.png", folder / f"{name}.svg", drawn_path(folder, name)]


def drawn_path(folder: Path, name: str) -> Path:
    """The CSV with the numbers that the figure `name` shows."""
    return folder / f"{name}.drawn.csv"


def rendered(figure: Figure, kind: str) -> bytes:
    """A figure as the bytes of a "png" or "svg" file; the same figure gives the same bytes."""
    sink = io.BytesIO()
    with mpl.rc_context(RC):
        _make_texts_plain(figure)
        figure.savefig(sink, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return sink.getvalue()


def _make_texts_plain(figure: Figure) -> None:
    """Escape what no font can draw and no SVG can hold: control characters and lone surrogates in others' names."""
    for axes in figure.axes:
        for formatter in (axes.xaxis.get_major_formatter(), axes.yaxis.get_major_formatter()):
            if isinstance(formatter, FixedFormatter):
                formatter.seq = [plain(label) for label in formatter.seq]
    for text in figure.findobj(Text):
        text.set_text(plain(text.get_text()))
