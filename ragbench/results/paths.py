"""Where everything of a run lies: every path of a study and of its points.

Names only; nothing here reads or writes.
"""

from dataclasses import dataclass
from pathlib import Path

from ragbench.files.csv_table import RecordError
from ragbench.results.manifest_checks import is_plain_name

PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED_QUESTIONS = PACKAGE / "questions"
SHIPPED_STUDIES = PACKAGE.parent / "studies"


@dataclass(frozen=True, slots=True)
class PointPaths:
    """The files of one point. A point is whole when its manifest is there: that one is written last."""

    folder: Path

    @property
    def requests(self) -> Path:
        """One row per scheduled request."""
        return self.folder / "requests.csv"

    @property
    def schedule(self) -> Path:
        """When each request was due and which question it asked."""
        return self.folder / "schedule.csv"

    @property
    def replicas(self) -> Path:
        """How many replicas there were, twice a second; only for services that tell."""
        return self.folder / "replicas.csv"

    @property
    def scaling(self) -> Path:
        """What the autoscaler decided and why; only for services that tell."""
        return self.folder / "scaling.csv"

    @property
    def starts(self) -> Path:
        """How long each replica that became ready took to; only for services that tell."""
        return self.folder / "starts.csv"

    @property
    def telemetry(self) -> Path:
        """What the point cost its machine, once a second."""
        return self.folder / "telemetry.csv"

    @property
    def log(self) -> Path:
        """What the server printed while this point ran."""
        return self.folder / "server.log"

    @property
    def manifest(self) -> Path:
        """Settings, seeds, versions, hardware and the summary row."""
        return self.folder / "manifest.json"


@dataclass(frozen=True, slots=True)
class StudyPaths:
    """The files of one study, `results/<study>/`."""

    root: Path

    @property
    def summary(self) -> Path:
        """One row per whole point."""
        return self.root / "summary.csv"

    @property
    def study_toml(self) -> Path:
        """A copy of the study as it was run."""
        return self.root / "study.toml"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.root / "figures"

    @property
    def notebooks(self) -> Path:
        """The folder of executed notebooks."""
        return self.root / "notebooks"

    @property
    def report(self) -> Path:
        """The page that holds everything."""
        return self.root / "report.html"

    @property
    def live_log(self) -> Path:
        """The log of the server that runs now; each point keeps its own part of it."""
        return self.root / ".server.log"

    @property
    def lock(self) -> Path:
        """Held while a run writes here, so that two runs never share a folder."""
        return self.root / ".lock"

    def point(self, name: str) -> PointPaths:
        """The files of the point `name`. Raises RecordError where that would lead out of the folder."""
        return PointPaths(self.root / self._checked(name))

    def partial(self, name: str) -> PointPaths:
        """Where the point `name` is put together before it is renamed into place. Raises RecordError."""
        return PointPaths(self.root / f".{self._checked(name)}.partial")

    def _checked(self, name: str) -> str:
        if not is_plain_name(name):
            raise RecordError(f"{self.root} tells of a point {name!a}, which cannot be the name of a folder")
        return name


@dataclass(frozen=True, slots=True)
class RetrievalPaths(StudyPaths):
    """The files of a retrieval study: `summary` has a row per cell."""

    @property
    def others(self) -> Path:
        """Rows of cells that the study no longer has."""
        return self.root / "others.csv"

    @property
    def roofline(self) -> Path:
        """What each device does at best."""
        return self.root / "roofline.csv"

    @property
    def log(self) -> Path:
        """What the measuring processes printed on stderr."""
        return self.root / "log.txt"

    @property
    def manifest(self) -> Path:
        """Study, versions, hardware, times. Written last: while it is there, every cell has a row."""
        return self.root / "manifest.json"
