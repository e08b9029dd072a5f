"""For each point not yet whole: launch, warm up, fire, write. A broken design does not stop the others."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ragbench.files.toml_tables import StudyError
from ragbench.files.whole_file import append_to, refuse_links
from ragbench.load.target import RAG
from ragbench.load.wires import wire_of
from ragbench.machine.telemetry import throttling
from ragbench.measure.point import Measurement, Surroundings, measure, schedule_of, service_of, unmeasured
from ragbench.measure.point_folder import trace_of, write_point
from ragbench.measure.progress import Progress
from ragbench.processes.child import HURRIED_GRACE_S, ChildError
from ragbench.processes.launch import Service
from ragbench.processes.log_file import read_log
from ragbench.results.paths import StudyPaths
from ragbench.results.records import copy_text, read_manifests, summary_csv, write_atomic
from ragbench.statistics.verdicts import NOT_MEASURED
from ragbench.study.points import Launch, Point, expand
from ragbench.study.questions import QuestionSet, load_questions
from ragbench.study.schedule import schedule_csv, sha256
from ragbench.study.study import Study


class Redo(StrEnum):
    """Which whole points to measure again."""

    changed = "changed"
    invalid = "invalid"
    all = "all"


@dataclass(frozen=True, slots=True)
class Plan:
    """The launches left with their points left, and the points that are skipped or in the way.

    `again`: measured before, to be measured again.
    """

    launches: tuple[Launch, ...]
    whole: dict[str, dict[str, Any]]  # point name -> manifest
    again: tuple[Point, ...]
    changed: dict[str, str]  # point name -> which setting differs
    others: tuple[str, ...]  # whole points in the folder that the study does not have

    @property
    def points(self) -> list[Point]:
        """The points to measure, in order."""
        return [point for launch in self.launches for point in launch.points]


def make_plan(study: Study, paths: StudyPaths, *, redo: Redo | None = None) -> Plan:
    """Compare the study with its folder. Raises StudyError."""
    questions = load_questions(study.workload.questions)
    launches = expand(study)
    for launch in launches:
        wire_of(launch.configuration.wire or RAG)
    points = {point.name: point for launch in launches for point in launch.points}
    measured = {manifest["point"]["name"]: manifest for manifest in read_manifests(paths.root)}
    whole, again, changed = {}, [], {}
    for name, point in points.items():
        manifest = measured.get(name)
        if manifest is None or redo == Redo.all:
            continue
        difference = _difference(manifest, point, questions)
        if difference:
            changed[name] = difference
        elif manifest["summary"].get("verdict") in ("failed", *(NOT_MEASURED if redo == Redo.invalid else ())):
            again.append(point)
        else:
            whole[name] = manifest
    skipped = whole.keys() | (set() if redo == Redo.changed else changed.keys())
    left = (Launch(x.configuration, tuple(p for p in x.points if p.name not in skipped)) for x in launches)
    others = tuple(name for name in measured if name not in points)
    return Plan(tuple(launch for launch in left if launch.points), whole, tuple(again), changed, others)


async def run(
    study: Study, study_file: Path, paths: StudyPaths, *, plan: Plan, around: Surroundings, progress: Progress
) -> None:
    """Measure every point of `plan`. Cancelled, it stops the server whole and drops the unfinished point."""
    runner = _Runner(paths, load_questions(study.workload.questions), around, progress)
    with locked(paths):
        copy_text(study_file, paths.study_toml)
        try:
            for launch in plan.launches:
                await runner.run_launch(launch)
        except BaseException:
            with suppress(OSError):  # the news is what ended the run
                _tidy(paths)
            raise
        _tidy(paths)


def _tidy(paths: StudyPaths) -> None:
    paths.live_log.unlink(missing_ok=True)
    rebuild_summary(paths)


def rebuild_summary(paths: StudyPaths) -> list[dict[str, Any]]:
    """Write summary.csv from the manifests of all whole points, and return these."""
    manifests = read_manifests(paths.root)
    write_atomic(paths.summary, summary_csv(manifests))
    return manifests


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs launches one after another; holds what all of them share."""

    paths: StudyPaths
    questions: QuestionSet
    around: Surroundings
    progress: Progress

    async def run_launch(self, launch: Launch) -> None:
        """Every point of one launch. A server that died is started again; one that never came up fails what is left."""
        left = list(launch.points)
        while left:
            try:
                service = await service_of(left[0], self.paths.live_log, self.progress)
            except ChildError as error:
                self.progress.note(str(error))
                self._fail(left, error.reason)
                return
            try:
                has_failed = False
                while left and not has_failed:
                    has_failed = await self._run_point(left.pop(0), service)
            except BaseException:
                await service.stop(grace_s=HURRIED_GRACE_S)
                raise
            for line in await service.stop():
                self.progress.note(line)

    async def _run_point(self, point: Point, service: Service) -> bool:
        """Measure and write one point. -> whether the service failed."""
        self.progress.begin(point.name)
        measurement = await measure(point, service, self.questions, on_row=self.progress.row)
        self._write(measurement, log=service.new_log())
        if measurement.failure is None:
            return False
        self.progress.note(service.log_end())
        return True

    def _fail(self, points: Sequence[Point], reason: str) -> None:
        log = read_log(self.paths.live_log)[0] if self.paths.live_log.exists() else ""
        for point in points:
            self._write(unmeasured(point, self.questions, failure=reason), log=log)

    def _write(self, measurement: Measurement, *, log: str) -> None:
        manifest = write_point(measurement, self.paths, log=log, questions=self.questions, around=self.around)
        rebuild_summary(self.paths)
        self.progress.point_ends(measurement.point, manifest["summary"])
        if (line := throttling(measurement.telemetry)) is not None:
            self.progress.note(line)


def _difference(manifest: dict[str, Any], point: Point, questions: QuestionSet) -> str:
    """The settings that differ from those measured, as in `duration_s 3.0 -> 5.0`; the SLO is none."""
    before, now = manifest["point"], point.as_dict()
    keys = [key for key in {**now, **before} if key != "slo"]
    found = [f"{key} {before.get(key)!r} -> {now.get(key)!r}" for key in keys if before.get(key) != now.get(key)]
    if not found and manifest.get("questions_sha256") != questions.sha256:
        found.append("the questions file")
    if not found and point.concurrency is None:
        found += _schedule_difference(manifest, point, questions)
    return ", ".join(found)


def _schedule_difference(manifest: dict[str, Any], point: Point, questions: QuestionSet) -> list[str]:
    is_same = manifest.get("schedule_sha256") == sha256(schedule_csv(schedule_of(point, questions)))
    if is_same and manifest.get("trace") == trace_of(point):
        return []
    return ["the schedule drawn from the same seed"]


@contextmanager
def locked(paths: StudyPaths) -> Iterator[None]:
    """Hold the study's folder. Raises StudyError where another run holds it, RecordError where links lie in it."""
    paths.root.mkdir(parents=True, exist_ok=True)
    refuse_links(paths.root)
    with append_to(paths.lock) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StudyError([f"another run is writing to {paths.root}; wait for it or use --results"]) from error
        except OSError:
            pass  # some network file systems have no locks
        yield
