"""One point, measured on a service that runs. point_folder.py writes its folder."""

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import psutil

from ragbench.load.client import Client, Clock, connect
from ragbench.load.fire import OnRow, Watcher, Work, beside, fire, soon, watch_replicas
from ragbench.load.senders import fire_from, soon_for_all
from ragbench.load.target import RAG, Target
from ragbench.load.warmup import warm_up
from ragbench.machine import telemetry
from ragbench.machine.git import Origin, code_origin, study_origin
from ragbench.machine.hardware import Hardware, slurm, this_machine, usable_cores, versions
from ragbench.machine.mixing import code_sha256
from ragbench.processes.family import family
from ragbench.processes.launch import Service
from ragbench.results.metrics import Summary
from ragbench.results.records import NO_SCALING, ReplicaCount, Row, Sample, Scaling
from ragbench.statistics.summary import summarise
from ragbench.study.arrivals import step_up_s
from ragbench.study.points import Point
from ragbench.study.questions import QuestionSet
from ragbench.study.schedule import Request, Turns, make_schedule, shares


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for every point of a run: machine, software, job. `problems`: a line for each thing not known.

    `git_...` is of the code that runs, `study_git_...` of a study that lies in another repository.
    """

    hardware: Hardware
    git_commit: str | None
    git_dirty: bool | None
    code_sha256: str
    versions: dict[str, str]
    slurm: dict[str, Any] | None
    study_git_commit: str | None = None
    study_git_dirty: bool | None = None
    problems: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As a manifest keeps it."""
        return {name: value for name, value in asdict(self).items() if name != "problems"}


@dataclass(frozen=True)
class Measurement:
    """One point as measured. `failure`: why it failed, if known. `schedule` of a closed loop: as sent.

    `caches`: requests of the warm-up and age of the server.
    """

    point: Point
    schedule: Sequence[Request]
    rows: Sequence[Row]
    replicas: Sequence[ReplicaCount]
    server_info: dict[str, Any] | None
    started_at: str
    failure: str | None
    telemetry: Sequence[Sample] = ()
    caches: dict[str, Any] | None = None
    scaling: Scaling = NO_SCALING

    @cached_property
    def summary(self) -> Summary:
        """Its figures."""
        return summarise(
            self.rows,
            offered_rps=self.point.offered_rps,
            concurrency=self.point.concurrency,
            duration_s=self.point.load.duration_s,
            replicas=self.replicas,
            scaling=self.scaling,
            step_up_s=step_up_s(self.point.arrival, self.point.expected_s),
            telemetry=self.telemetry,
            slo=self.point.slo,
            failure=self.failure,
            cores=usable_cores(),
            same_answers=self.point.workload.same_answers,
        )


def look_around(study: Path | None = None) -> Surroundings:
    """The surroundings of this process now, and of the file `study`."""
    code = code_origin()
    other = Origin() if study is None else study_origin(study, code)
    return Surroundings(
        this_machine(),
        code.commit,
        code.dirty,
        code_sha256(),
        versions(),
        slurm(os.environ),
        study_git_commit=other.commit,
        study_git_dirty=other.dirty,
        problems=tuple(filter(None, (code.problem, other.problem))),
    )


def load_of(point: Point, questions: QuestionSet) -> tuple[Request, ...] | Turns:
    """The load of `point`: the same for every design at equal arrival, rate (or users) and seed. Raises StudyError."""
    if point.concurrency is not None:
        return Turns(point.concurrency, point.load.span, point.seed, questions.questions)
    return schedule_of(point, questions)


def schedule_of(point: Point, questions: QuestionSet) -> tuple[Request, ...]:
    """The schedule of an open-loop point. Raises ArrivalError."""
    assert point.offered_rps is not None, "a closed loop has no schedule before it is run"
    return make_schedule(
        point.arrival,
        point.offered_rps,
        span=point.load.span,
        seed=point.seed,
        questions=questions.questions,
        max_new_tokens=point.workload.max_new_tokens,
    )


async def measure(
    point: Point, service: Service, questions: QuestionSet, *, on_row: OnRow | None = None
) -> Measurement:
    """Warm up and fire the load. A service that fails gives rows and a `failure`, no exception."""
    load = load_of(point, questions)
    started_at = now_utc()
    pid = service.pid
    caches = _caches(point, pid)
    counts: list[ReplicaCount] = []
    samples: list[Sample] = []
    clocks: list[Clock] = []
    async with connect(_target(point, service)) as client:
        info = await client.info()
        unready = await warm_up(client, point, service, questions)
        if unready is not None:
            return unmeasured(point, questions, failure=unready, server_info=info)
        watchers: list[Watcher] = [
            partial(watch_replicas, client, counts),
            partial(telemetry.watch, None if pid is None else partial(family, pid), samples=samples),
            partial(_append, clocks),
        ]
        work = _work(point, load, client=client, service=service, on_row=on_row)
        rows = await beside(work, origin=soon if point.load.processes == 1 else soon_for_all, watchers=watchers)
        scaling = await client.scaling(clocks[0]) if counts and clocks else NO_SCALING
    if isinstance(load, Turns):
        asked = {question.id: question for question in load.questions}
        load = tuple(Request(row.request, row.due_s, asked[row.question]) for row in rows)
    return Measurement(point, load, rows, counts, info, started_at, service.failure(), samples, caches, scaling)


def _target(point: Point, service: Service) -> Target:
    return Target(
        service.url,
        point.load.timeout_s,
        wire=point.configuration.wire or RAG,
        k=point.workload.k,
        max_new_tokens=point.workload.max_new_tokens,
        deadline_s=point.load.deadline_s,
        ca_file=point.configuration.ca_file,
    )


async def _append(clocks: list[Clock], clock: Clock) -> None:
    """Keep the clock of the load, for requests after its end."""
    clocks.append(clock)


def _work(
    point: Point, load: tuple[Request, ...] | Turns, *, client: Client, service: Service, on_row: OnRow | None
) -> Work:
    """The load from this process, or from as many as the point wants."""
    n = point.load.processes
    if n == 1:
        return partial(fire, load, client, ended=service.ended(), on_row=on_row)
    dealt = load.shares(n) if isinstance(load, Turns) else shares(load, of=n)
    return partial(fire_from, dealt, client.target, ended=service.ended(), on_row=on_row)


def _caches(point: Point, pid: int | None) -> dict[str, Any]:
    """Requests of the warm-up, and the age of the server before it; None where it is on another machine."""
    try:
        age_s = None if pid is None else round(time.time() - psutil.Process(pid).create_time(), 1)
    except psutil.Error:
        age_s = None
    return {"warmup_requests": point.load.warmup_requests, "server_age_s": age_s}


def unmeasured(
    point: Point, questions: QuestionSet, *, failure: str, server_info: dict[str, Any] | None = None
) -> Measurement:
    """A point that could not be fired: every request is a row with status `unsent`.

    Of a closed loop that lasts for a time, that is the first request of each user.
    """
    load = load_of(point, questions)
    if isinstance(load, Turns):
        first = itertools.islice(load.asked(), load.span.requests or load.users)
        load = tuple(Request(number, 0.0, question) for number, question in first)
    rows = [Row(r.number, r.question.id, r.due_s, error="the load was not fired") for r in load]
    return Measurement(point, load, rows, (), server_info, now_utc(), failure)


def now_utc() -> str:
    """The wall clock, ISO, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
