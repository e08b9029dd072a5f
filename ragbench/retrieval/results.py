"""A retrieval study's results as figures, findings and tables see them. Draws nothing, writes nothing."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ragbench.results.folder import locate, title_of
from ragbench.results.paths import RetrievalPaths
from ragbench.retrieval.roofline import load_rates
from ragbench.retrieval.rows import load_rows


@dataclass(frozen=True, slots=True)
class Results:
    """One results folder: `cells` has a row per cell, `rates` one per device and dtype."""

    name: str
    cells: pd.DataFrame
    rates: pd.DataFrame
    folder: Path

    @property
    def title(self) -> str:
        """The title its study file gives, or its name."""
        return title_of(RetrievalPaths(self.folder).study_toml, default=self.name)

    @property
    def hardware(self) -> list[str]:
        """The machines; one, unless rows were put together by hand."""
        return list(dict.fromkeys(self.cells["hardware"].dropna().astype(str)))

    @property
    def searches(self) -> pd.DataFrame:
        """The searches that were measured."""
        return self._measured("search")

    @property
    def trainings(self) -> pd.DataFrame:
        """The trainings of k-means that were measured."""
        return self._measured("kmeans")

    def _measured(self, task: str) -> pd.DataFrame:
        rows = self.cells[(self.cells["task"] == task) & (self.cells["status"] == "ok")]
        # Two grids may share a cell, which is no reason to draw it twice.
        settings = list(rows.columns[1 : list(rows.columns).index("status")])
        return rows.drop_duplicates(settings)


def load_results(folder: str | Path) -> Results:
    """Read a results folder, given as `locate` takes it."""
    found = locate(Path(folder))
    paths = RetrievalPaths(found)
    return Results(found.name, load_rows(paths.summary), load_rates(paths.roofline), found)
