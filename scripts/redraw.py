"""python scripts/redraw.py [FOLDER ...]: compute and draw the committed references again, by today's code.

Points whose rows are kept are computed again first. Then each figure that lies there is drawn again from what is kept;
one that also needs rows which are not kept stays as it was measured, if its numbers lie beside it, and goes otherwise.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from ragbench import plots  # noqa: E402
from ragbench.calibration import figures as calibration  # noqa: E402
from ragbench.calibration.run import load as load_calibration  # noqa: E402
from ragbench.capacity.figure import capacity  # noqa: E402
from ragbench.files.csv_table import read_frame  # noqa: E402
from ragbench.plots.drawn import COLUMNS  # noqa: E402
from ragbench.results.folder import Study, load_study  # noqa: E402
from ragbench.results.paths import RetrievalPaths, StudyPaths  # noqa: E402
from ragbench.results.records import read_manifests  # noqa: E402
from ragbench.retrieval import plots as retrieval  # noqa: E402
from ragbench.retrieval.results import load_results  # noqa: E402
from ragbench.statistics.recompute import recompute  # noqa: E402

SWEEP = {**plots.FIGURES, "capacity": capacity}
TOLERANCE = 2e-5  # of a number, since files keep six digits
ALONGSIDE = {"throughput": "overload"}  # drawn wherever the first one is, if the study has it


@dataclass(frozen=True, slots=True)
class Kept(Study):
    """A study that notes which points' rows were asked for and are not kept."""

    lacking: list[str] = field(default_factory=list)

    def requests(self, point: str) -> pd.DataFrame | None:
        """As of a study."""
        found = Study.requests(self, point)
        if found is None:
            self.lacking.append(point)
        return found


@dataclass(frozen=True, slots=True)
class Redrawn:
    """A figure by today's code from what is kept; `is_whole`: nothing that it would show is lacking."""

    figure: Figure | None
    is_whole: bool


def room(folder: Path) -> Path:
    """Where the figures of a reference lie."""
    return folder if is_calibration(folder) else folder / "figures"


def is_calibration(folder: Path) -> bool:
    """Whether `ragbench calibrate` wrote there."""
    return (folder / "calibration.json").is_file()


def names(folder: Path) -> list[str]:
    """The figures that lie in a reference."""
    return sorted(path.stem for path in room(folder).glob("*.png"))


def redrawn(folder: Path, name: str) -> Redrawn:
    """A figure of a reference; none where today's code has no such figure."""
    if is_calibration(folder):
        draw = calibration.FIGURES.get(name)
        return Redrawn(draw(load_calibration(folder)) if draw else None, is_whole=True)
    if RetrievalPaths(folder).roofline.is_file():
        drawn_by = retrieval.FIGURES.get(name)
        return Redrawn(drawn_by(load_results(folder)) if drawn_by else None, is_whole=True)
    measured = load_study(folder)
    study = Kept(measured.name, measured.summary, measured.folder)
    figure = SWEEP[name](study) if name in SWEEP else None
    return Redrawn(figure, is_whole=not study.lacking)


def shows_less(found: Redrawn, kept: Path) -> bool:
    """Whether a figure drawn again lacks a panel that the one kept beside its numbers has, or all of them."""
    if found.is_whole or not kept.is_file():
        return False
    return found.figure is None or len(found.figure.axes) < read_drawn(kept)["panel"].max()


def read_drawn(path: Path) -> pd.DataFrame:
    """The numbers that `drawn_csv` wrote."""
    texts = ("title", "kind", "series")
    frame = read_frame(path, {**dict.fromkeys(texts, "text"), "x": "real", "y": "real"}, needed=COLUMNS, most=np.inf)
    return frame.fillna(dict.fromkeys(texts, ""))


def difference(one: pd.DataFrame, other: pd.DataFrame) -> str | None:
    """The first way in which two figures differ in what they show, beyond TOLERANCE; None where they do not."""
    names = list(COLUMNS[:5])
    if len(one) != len(other):
        return f"{len(one)} vertices, against {len(other)}"
    unlike = (one[names].astype(str).to_numpy() != other[names].astype(str).to_numpy()).any(axis=1)
    here, there = (table[["x", "y"]].to_numpy(dtype=float) for table in (one, other))
    unlike |= ~np.isclose(here, there, rtol=TOLERANCE, atol=1e-12, equal_nan=True).all(axis=1)
    if not unlike.any():
        return None
    first = int(np.argmax(unlike))
    return f"{tuple(one.iloc[first])}, against {tuple(other.iloc[first])}; {unlike.sum()} of {len(one)} vertices differ"


def redraw(folder: Path, tell: Callable[[str], None]) -> None:
    """Draw every figure of a reference again, in place."""
    wanted = names(folder)
    wanted += [other for name, other in ALONGSIDE.items() if name in wanted and other not in wanted]
    figures = room(folder)
    for name in wanted:
        found = redrawn(folder, name)
        if shows_less(found, plots.drawn_path(figures, name)):
            tell(f"{folder.name}: {name} is kept as it was measured: its rows are not")
        elif found.figure is None:
            plots.remove(figures, name)
            tell(f"{folder.name}: there is no {name}")
        else:
            plots.keep(found.figure, figures, name)
            tell(f"{folder.name}: {name} is drawn" + ("" if found.is_whole else ", less what needs rows"))


def compute(folder: Path, tell: Callable[[str], None]) -> None:
    """Compute the points again where the rows of all are kept."""
    paths = StudyPaths(folder)
    points = [paths.point(manifest["point"]["name"]) for manifest in read_manifests(folder)]
    if points and all(point.requests.is_file() for point in points):
        recompute(paths)
        tell(f"{folder.name}: {len(points)} points are computed")


def main(arguments: Sequence[str] | None = None) -> None:
    """All references, or those given."""
    given = [Path(each) for each in (sys.argv[1:] if arguments is None else arguments)]
    for folder in given or sorted((ROOT / "results").glob("reference-*")):
        compute(folder, print)
        redraw(folder, print)


if __name__ == "__main__":
    main()
