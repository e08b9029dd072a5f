"""Measure one point on a service that runs, and write it so that it is either whole or absent.

Starting services and the order of points are decided in sweep.py.
"""

import asyncio
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ragbench.client import Client, ServiceError, connect
from ragbench.hardware import Hardware, git_state, slurm, this_machine, versions
from ragbench.launch import Service
from ragbench.load import OnRow, fire
from ragbench.paths import StudyPaths
from ragbench.points import Point
from ragbench.records import ReplicaCount, Row, replicas_csv, requests_csv, write_atomic, write_manifest
from ragbench.schedule import Request, make_schedule, schedule_csv, sha256, warmup_questions
from ragbench.stats import Summary, summarise
from ragbench.workload import Question, QuestionSet

_RETRY_S = 0.2


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What holds for every point of a run: machine, software, job."""

    hardware: Hardware
    git_commit: str | None
    git_dirty: bool | None
    versions: dict[str, str]
    slurm: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One point as measured. `failure` says why it failed, where the harness knows."""

    point: Point
    schedule: Sequence[Request]
    rows: Sequence[Row]
    replicas: Sequence[ReplicaCount]
    server_info: dict[str, Any] | None
    started_at: str
    failure: str | None

    @property
    def summary(self) -> Summary:
        """Its figures."""
        return summarise(
            self.rows,
            offered_rps=self.point.offered_rps,
            duration_s=self.point.load.duration_s,
            replicas=self.replicas,
            failure=self.failure,
        )


def look_around() -> Surroundings:
    """The surroundings of this process now."""
    commit, dirty = git_state(Path.cwd())
    return Surroundings(this_machine(), commit, dirty, versions(), slurm(os.environ))


def schedule_of(point: Point, questions: QuestionSet) -> tuple[Request, ...]:
    """The load of `point`: the same for every design at equal arrival, rate and seed."""
    return make_schedule(
        point.arrival, point.offered_rps, span=point.load.span, seed=point.seed, questions=questions.questions
    )


async def measure(
    point: Point, service: Service, questions: QuestionSet, *, on_row: OnRow | None = None
) -> Measurement:
    """Warm up, fire the load and see how it went. A service that fails gives rows and a `failure`, no exception."""
    schedule = schedule_of(point, questions)
    started_at = now_utc()
    async with connect(service.url, workload=point.workload, timeout_s=point.load.timeout_s) as client:
        info = await client.info()
        unready = await _warm_up(client, point, service, questions)
        if unready is not None:
            return unmeasured(point, questions, failure=unready, server_info=info)
        rows, replicas = await fire(schedule, client, ended=service.ended(), on_row=on_row)
    return Measurement(point, schedule, rows, replicas, info, started_at, service.failure())


def unmeasured(
    point: Point, questions: QuestionSet, *, failure: str, server_info: dict[str, Any] | None = None
) -> Measurement:
    """A point that could not be fired: every request is a row with status `unsent`."""
    schedule = schedule_of(point, questions)
    rows = [Row(r.number, r.question.id, r.due_s, error="the load was not fired") for r in schedule]
    return Measurement(point, schedule, rows, (), server_info, now_utc(), failure)


async def _warm_up(client: Client, point: Point, service: Service, questions: QuestionSet) -> str | None:
    """Ask the warm-up questions at once and wait until all are answered: the last point's backlog is then drained.

    A question that is refused or times out is asked again. Returns why the service is not ready, or None.
    """
    load = point.load
    asked = warmup_questions(
        point.arrival, point.offered_rps, n=load.warmup_requests, seed=point.seed, questions=questions.questions
    )
    try:
        await client.check()
    except ServiceError as error:
        return service.failure() or str(error)
    ended: asyncio.Future[Any] = asyncio.ensure_future(service.ended())
    answered = [asyncio.ensure_future(_until_answered(client, question)) for question in asked]
    everything: asyncio.Future[Any] = asyncio.gather(*answered)
    try:
        await asyncio.wait({ended, everything}, timeout=load.ready_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return service.failure() or "the server ended"
        if not everything.done():
            done = sum(task.done() for task in answered)
            return (
                f"{done} of {len(asked)} warm-up requests were answered within {load.ready_timeout_s:g} s "
                "(ready_timeout_s)"
            )
        return None
    finally:
        for task in (ended, everything):
            task.cancel()
        await asyncio.gather(ended, everything, return_exceptions=True)


async def _until_answered(client: Client, question: Question) -> None:
    """Ask until the answer is other than `rejected` or `timeout`."""
    clock = asyncio.get_running_loop().time
    while True:
        row = await client.ask(client.prepare(Request(0, clock(), question)), clock)
        if row.status not in ("rejected", "timeout"):
            return
        await asyncio.sleep(_RETRY_S)


def write_point(
    measurement: Measurement, paths: StudyPaths, *, log: str, questions: QuestionSet, around: Surroundings
) -> dict[str, Any]:
    """Put the point's folder together under a hidden name, manifest last, and rename it into place. -> the manifest."""
    point = measurement.point
    partial = paths.partial(point.name)
    shutil.rmtree(partial.folder, ignore_errors=True)
    schedule = schedule_csv(measurement.schedule)
    write_atomic(partial.schedule, schedule)
    write_atomic(partial.requests, requests_csv(measurement.rows))
    if measurement.replicas:
        write_atomic(partial.replicas, replicas_csv(measurement.replicas))
    write_atomic(partial.log, log)
    manifest = {
        "point": point.as_dict(),
        "seed": point.seed,
        "schedule_sha256": sha256(schedule),
        "questions_sha256": questions.sha256,
        "git_commit": around.git_commit,
        "git_dirty": around.git_dirty,
        "versions": around.versions,
        "hardware": around.hardware.as_dict(),
        "slurm": around.slurm,
        "server_info": measurement.server_info,
        "started_at": measurement.started_at,
        "summary": summary_row(measurement, hardware=str(around.hardware)),
    }
    write_manifest(partial.manifest, manifest)
    final = paths.point(point.name).folder
    shutil.rmtree(final, ignore_errors=True)
    os.rename(partial.folder, final)
    return manifest


def summary_row(measurement: Measurement, *, hardware: str) -> dict[str, Any]:
    """The point's row of summary.csv, without the settings columns."""
    point = measurement.point
    return {
        "point": point.name,
        "variant": point.design.variant,
        "arrival": point.arrival,
        "offered_rps": point.offered_rps,
        "seed": point.seed,
        **asdict(measurement.summary),
        "hardware": hardware,
    }


def now_utc() -> str:
    """The wall clock, ISO, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
