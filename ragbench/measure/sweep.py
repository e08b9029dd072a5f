"""For each point not yet whole: launch, warm up, fire, write. A broken design does not stop the others."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ragbench.files.toml_tables import StudyError
from ragbench.files.whole_file import append_to, refuse_links
from ragbench.load.target import RAG
from ragbench.load.wires import wire_of
from ragbench.measure.point import Surroundings, schedule_of, unmeasured
from ragbench.measure.point_folder import trace_of
from ragbench.measure.progress import Progress
from ragbench.measure.runner import Runner
from ragbench.processes.child import ChildError
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
        if other := difference(manifest, point, questions):
            changed[name] = other
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
    runner = Runner(paths, load_questions(study.workload.questions), around, progress)
    with recording(study_file, paths):
        for launch in plan.launches:
            await run_launch(launch, runner)


async def run_launch(launch: Launch, runner: Runner) -> None:
    """Every point of one launch. A server that died is started again; one that never came up fails what is left."""
    paths, progress, left = runner.paths, runner.progress, list(launch.points)

    def end_point(manifest: dict[str, Any]) -> None:
        rebuild_summary(paths)
        progress.point_ends(left.pop(0), manifest["summary"])

    try:
        async with runner:
            while left:
                end_point(await runner.run(left[0]))
    except ChildError as error:
        progress.note(str(error))
        log = read_log(paths.live_log)[0] if paths.live_log.exists() else ""
        while left:
            end_point(runner.write(unmeasured(left[0], runner.questions, failure=error.reason), log=log))


@contextmanager
def recording(study_file: Path, paths: StudyPaths) -> Iterator[None]:
    """Hold the study's folder, with a copy of its file; at the end its summary has all whole points."""
    with locked(paths):
        copy_text(study_file, paths.study_toml)
        try:
            yield
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


def difference(manifest: dict[str, Any], point: Point, questions: QuestionSet) -> str:
    """The settings that differ from those measured, as in `duration_s 3.0 -> 5.0`; the SLO is none."""
    before, now = manifest["point"], point.as_dict()
    keys = [key for key in {**now, **before} if key != "slo" and before.get(key) != now.get(key)]
    if keys:
        return ", ".join(f"{key} {before.get(key)!r} -> {now.get(key)!r}" for key in keys)
    if manifest.get("questions_sha256") != questions.sha256:
        return "the questions file"
    if point.concurrency is not None:
        return ""
    drawn = sha256(schedule_csv(schedule_of(point, questions))), trace_of(point)
    is_same = drawn == (manifest.get("schedule_sha256"), manifest.get("trace"))
    return "" if is_same else "the schedule drawn from the same seed"


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
