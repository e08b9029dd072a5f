"""Every path of a study and of its points. Reads and writes nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragbench.files.csv_table import RecordError
from ragbench.results.manifest_checks import is_plain_name

PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED_QUESTIONS = PACKAGE / "questions"
SHIPPED_STUDIES = PACKAGE.parent / "studies"


class _Inside:
    """An attribute: the path of this name in the folder of PointPaths or StudyPaths."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, paths: Any, owner: type) -> Path:
        folder: Path = paths.folder if isinstance(paths, PointPaths) else paths.root
        return folder / self._name


@dataclass(frozen=True, slots=True)
class PointPaths:
    """The files of one point. A point is whole when its manifest is there: that one is written last."""

    folder: Path

    requests = _Inside("requests.csv")  # one row per scheduled request
    schedule = _Inside("schedule.csv")  # when each request was due and which question it asked
    replicas = _Inside("replicas.csv")  # replica counts, twice a second; of services that report them
    scaling = _Inside("scaling.csv")  # decisions of the autoscaler; of services that report them
    starts = _Inside("starts.csv")  # seconds from start to ready of each replica; of services that report them
    telemetry = _Inside("telemetry.csv")  # use of the machine, once a second
    log = _Inside("server.log")  # what the server printed while this point ran
    manifest = _Inside("manifest.json")  # settings, seeds, versions, hardware and the summary row


@dataclass(frozen=True, slots=True)
class StudyPaths:
    """The files of one study, `results/<study>/`."""

    root: Path

    summary = _Inside("summary.csv")  # one row per whole point
    study_toml = _Inside("study.toml")  # a copy of the study as it was run
    figures = _Inside("figures")  # the folder of figures
    notebooks = _Inside("notebooks")  # the folder of executed notebooks
    report = _Inside("report.html")  # the page that holds everything
    live_log = _Inside(".server.log")  # the log of the server that runs now; each point keeps its own part of it
    lock = _Inside(".lock")  # held while a run writes here, so that two runs never share a folder

    def point(self, name: str) -> PointPaths:
        """The files of the point `name`. Raises RecordError where that would lead out of the folder."""
        return PointPaths(self.root / self._checked(name))

    def partial(self, name: str) -> PointPaths:
        """Where the point `name` is put together before it is renamed into place. Raises RecordError."""
        return PointPaths(self.root / f".{self._checked(name)}.partial")

    def _checked(self, name: str) -> str:
        if not is_plain_name(name):
            raise RecordError(f"{self.root} names a point {name!a}, which cannot be the name of a folder")
        return name


@dataclass(frozen=True, slots=True)
class RetrievalPaths(StudyPaths):
    """The files of a retrieval study: `summary` has a row per cell, of every cell while the manifest is there."""

    others = _Inside("others.csv")  # rows of cells that the study no longer has
    roofline = _Inside("roofline.csv")  # what each device does at best
    log = _Inside("log.txt")  # what the measuring processes printed on stderr
    manifest = _Inside("manifest.json")  # study, versions, hardware, times; written last
