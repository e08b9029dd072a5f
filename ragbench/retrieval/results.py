"""A retrieval study's results as figures, findings and tables see them. Draws nothing, writes nothing."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from numbers import Integral
from pathlib import Path

import pandas as pd

from ragbench.results.folder import locate, title_of
from ragbench.results.paths import RetrievalPaths
from ragbench.retrieval.cells import SETTINGS
from ragbench.retrieval.roofline import ROOFS, read_roofs
from ragbench.retrieval.rows import load_rows

_SHOWN = ("build_s", "search_s", "queries_per_s", "of_roofline", "recall_at_k", "index_mib", "peak_mib", "inertia")


@dataclass(frozen=True, slots=True)
class Results:
    """One results folder: `cells` has a row per cell, `roofs` one per device and dtype."""

    name: str
    cells: pd.DataFrame
    roofs: pd.DataFrame
    folder: Path

    @property
    def title(self) -> str:
        """The title in its study file, or its name."""
        return title_of(RetrievalPaths(self.folder).study_toml, default=self.name)

    @property
    def hardware(self) -> list[str]:
        """The machines; more than one only where rows were joined by hand."""
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
    """Read a results folder (as for `locate`)."""
    root = locate(Path(folder))
    paths = RetrievalPaths(root)
    roofs = pd.DataFrame(map(asdict, read_roofs(paths.roofline)), columns=list(ROOFS.columns))
    return Results(root.name, load_rows(paths.summary), roofs, root)


def by_grid(cells: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The table of each grid, in order, under a heading that holds the settings that do not vary."""
    for name, rows in cells.groupby("grid", sort=False):
        varied = [setting for setting in SETTINGS if rows[setting].nunique(dropna=False) > 1]
        fixed = [setting for setting in SETTINGS if setting not in varied and rows[setting].notna().any()]
        settings = ", ".join(f"{setting} {_text(rows[setting].iloc[0])}" for setting in fixed)
        status = [] if (rows["status"] == "ok").all() else ["status", "reason"]
        measured = [column for column in _SHOWN if rows[column].notna().any()]
        yield f"{name}: {settings}", rows[[*varied, *status, *measured]].reset_index(drop=True)


def _text(value: object) -> str:
    return f"{int(value):,}" if isinstance(value, Integral) else str(value)
