"""A study's results for its figures: the summary, and the rows of a point. Draws nothing, writes nothing."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from ragbench.files.csv_format import CsvFormat
from ragbench.files.toml_tables import read_toml
from ragbench.results import records
from ragbench.results.paths import PACKAGE, StudyPaths

CHECKOUT = PACKAGE.parent
_Drawn = TypeVar("_Drawn")
CLOSED = "closed"  # the arrival process of closed loops


@dataclass(frozen=True, slots=True)
class Study:
    """One results folder: `summary` has a row per point; a point's own rows are read when asked for."""

    name: str
    summary: pd.DataFrame
    folder: Path

    @property
    def title(self) -> str:
        """The title its study file gives, or its name."""
        return title_of(StudyPaths(self.folder).study_toml, default=self.name)

    @property
    def settings(self) -> list[str]:
        """Names of the settings' columns, which lie between `design` and `arrival`."""
        columns = list(self.summary.columns)
        return columns[columns.index("design") + 1 : columns.index("arrival")]

    @property
    def arrivals(self) -> list[str]:
        """Arrival processes in the order of every figure: ideal, poisson, then the others; no closed loop."""
        present = set(self.summary["arrival"]) - {CLOSED}
        return [name for name in dict.fromkeys(("ideal", "poisson", *self.summary["arrival"])) if name in present]

    @property
    def main_arrival(self) -> str:
        """The arrival process of figures that show one: poisson where measured, which is most like users."""
        return "poisson" if "poisson" in self.arrivals else self.arrivals[0]

    @property
    def open_loop(self) -> "Study":
        """The study with its open-loop points only: requests were sent whether or not others were answered."""
        return replace(self, summary=self.summary[self.summary["arrival"] != CLOSED])

    @property
    def closed_loop(self) -> "Study":
        """The study with its closed-loop points only: a number of users each waited for an answer."""
        return replace(self, summary=self.summary[self.summary["arrival"] == CLOSED])

    @property
    def hardware(self) -> list[str]:
        """The machines the points were measured on; one, unless results were gathered from several."""
        return list(dict.fromkeys(self.summary["hardware"].dropna().astype(str)))

    def requests(self, point: str) -> pd.DataFrame | None:
        """One row per scheduled request of a point, or None where only its summary was kept."""
        return _frame(records.REQUESTS, StudyPaths(self.folder).point(point).requests)

    def replicas(self, point: str) -> pd.DataFrame | None:
        """Replicas over time (`t_s`, `ready`, `starting`, `draining`), or None where the server reported none."""
        return _frame(records.REPLICAS, StudyPaths(self.folder).point(point).replicas)

    def scaling(self, point: str) -> pd.DataFrame | None:
        """The autoscaler's decisions (scaling.csv), or None where the server reported none."""
        return _frame(records.DECISIONS, StudyPaths(self.folder).point(point).scaling)


def _frame(form: CsvFormat[Any], path: Path) -> pd.DataFrame | None:
    return form.frame(path) if path.is_file() else None


def open_loop(draw: Callable[[Study], _Drawn | None]) -> Callable[[Study], _Drawn | None]:
    """`draw` for the open-loop points of a study; it gives None where there are none."""

    @functools.wraps(draw)
    def draw_open_loop(study: Study) -> _Drawn | None:
        return draw(study.open_loop) if study.arrivals else None

    return draw_open_loop


def title_of(study_toml: Path, *, default: str) -> str:
    """The title in a study's file, or `default`."""
    head = read_toml(study_toml).get("study", {}) if study_toml.is_file() else {}
    return str(head.get("title", default)) if isinstance(head, dict) else default


def load_study(folder: str | Path) -> Study:
    """Read a results folder, given as `locate` takes it."""
    path = locate(Path(folder))
    return Study(name=path.name, summary=records.load_summary(StudyPaths(path).summary), folder=path)


def locate(folder: Path) -> Path:
    """A results folder, relative to the working directory or else to the repository root.

    A notebook's working directory depends on its runner (papermill: the shell's; jupyter: `notebooks/`). Raises
    FileNotFoundError, which names both places and the studies in the repository.
    """
    places = [Path.cwd() / folder, CHECKOUT / folder]
    for place in places:
        if StudyPaths(place).summary.is_file():
            return place.resolve()
    measured = sorted(path.parent.name for path in (CHECKOUT / "results").glob("*/summary.csv"))
    raise FileNotFoundError(
        f"no study at {folder}: looked for summary.csv in {' and in '.join(str(p) for p in dict.fromkeys(places))}. "
        f"Studies in results/: {', '.join(measured) or 'none'}; `ragbench run smoke` makes results/smoke"
    )
