"""The contract of an engine, which runs a backend for a server on a thread or in a process.

A thread shares Python's global lock with the event loop, so that each holds up the other. A process has a lock of its
own, and costs a copy of each question and answer.
"""

import asyncio
import itertools
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from msgspec import Struct

from servers import exits
from servers.backend import Backend, Chunk, Done, Event, Failure, Loaded
from servers.backend.job import Job
from servers.backend.steps import Steps
from servers.engine.loop import Cancel, Inbox, Submit, work
from servers.engine.progress import Progress
from servers.errors import (
    BadRequest,
    EngineEnded,
    QuestionFailed,
    RequestError,
    Unavailable,
    UpstreamBusy,
    UpstreamFailed,
)
from servers.rag.build import build
from servers.rag.fakes import Slowed, Stub
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings
from servers.tasks import Background
from servers.telemetry import metrics

log = logging.getLogger(__name__)


class EngineDied(RuntimeError):
    """The engine ended before the server; nothing can be answered any more. `status` is the exit status."""

    status = exits.ENGINE_ENDED


class Step(Struct, frozen=True, tag=True, array_like=True):
    """The engine makes progress; its next step may take that many seconds, if that is more than usual."""

    allowed_s: float


Reported = Loaded | list[Event] | Step | Exception
"""What an engine reports: first Loaded or why there is nothing to run, then steps and the events of jobs."""


class Engine(ABC):
    """A backend and the thread or process that runs it, with the jobs that it has not ended."""

    def __init__(self) -> None:
        self._has_ended = False
        self._numbers = itertools.count()
        self._jobs: dict[int, Job[Answered]] = {}
        self.progress = Progress(self._jobs, hang_s=math.inf)

    async def load(self, settings: Settings, background: Background) -> Loaded:
        """Build the backend. Raises ModelError. If the engine ends before `stop`, a task of `background` fails."""
        self._loaded: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        background.start(self._run_and_end(settings), name="engine")
        loaded = await self._loaded
        self.progress.hang_s = settings.time_limits.hang_s
        return loaded

    def submit(self, asks: Sequence[Ask], *, stream: bool = False) -> list[Job[Answered]]:
        """Jobs of one batch, which runs now or next; with `stream`, with their chunks.

        A job raises the RequestError of its own failure, or Unavailable if the engine has ended.
        """
        jobs: list[Job[Answered]] = [Job(next(self._numbers), self._cancel, stream=stream) for _ in asks]
        now = time.monotonic()
        if not self._jobs:
            self.progress.stepped(now)
        self._jobs |= {job.number: job for job in jobs}
        try:
            if self._has_ended:
                raise Unavailable("the engine has ended", retry_after_s=1)  # noqa: TRY301  as a failure to send
            self._send(Submit(jobs[0].number, asks, stream))
        except (Unavailable, TypeError, ValueError) as error:  # a lone surrogate
            for job in jobs:
                self._end(job.number, error, now)
        return jobs

    @abstractmethod
    async def stop(self) -> None:
        """Stop the backend without waiting for jobs."""

    @abstractmethod
    async def _run(self, settings: Settings) -> None:
        """Run `run` elsewhere, and give what it reports to `_dispatch`. Raises EngineDied."""

    @abstractmethod
    def _send(self, message: Submit[Ask] | Cancel) -> None:
        """Put a message into the inbox of `run`."""

    async def _run_and_end(self, settings: Settings) -> None:
        try:
            await self._run(settings)
        finally:
            self._has_ended = True
            ended = EngineEnded("the engine has ended", retry_after_s=1)
            now = time.monotonic()
            for number in tuple(self._jobs):
                self._end(number, ended, now)
            if not self._loaded.done():
                self._loaded.set_exception(ended)

    def _cancel(self, job: int) -> None:
        if not self._has_ended:
            self._send(Cancel(job))

    def _dispatch(self, report: Reported) -> None:
        """Give events to their jobs, and note progress. Raises ValueError on a second Loaded."""
        now = time.monotonic()
        if isinstance(report, Step):
            self.progress.stepped(now, report.allowed_s)
        elif isinstance(report, list):
            _observe(report)
            for event in report:
                if not isinstance(event, Chunk):
                    self._end(event.job, event.result if isinstance(event, Done) else _error(event.failure), now)
                elif (job := self._jobs.get(event.job)) is not None:
                    job.add(event)
        elif self._has_ended or self._loaded.cancelled():  # nobody waits for it any more
            return
        elif self._loaded.done():
            raise ValueError("it has loaded already")
        elif isinstance(report, Loaded):
            self._loaded.set_result(report)
        else:
            self._loaded.set_exception(report)

    def _end(self, number: int, outcome: Answered | Exception | None, now: float) -> None:
        self.progress.stepped(now)
        if (job := self._jobs.pop(number, None)) is None:
            return
        if isinstance(outcome, Exception) and not isinstance(outcome, Unavailable):  # the engine's end fails all jobs
            metrics.FAILED_QUESTIONS.labels(type(outcome).__name__).inc()
        job.end(outcome)


def run(settings: Settings, inbox: Inbox, report: Callable[[Reported], None]) -> None:
    """Build a backend, and run the inbox's messages until None comes. Raises EngineUnfit."""
    try:
        backend = load_backend(settings)
    except Exception as error:
        if not isinstance(error, ModelError):
            log.exception("the pipeline could not be built")
        report(error)
        return
    report(backend.loaded())
    limits = settings.time_limits
    steps = Steps(lambda allowed_s: report(Step(allowed_s)), hang_s=limits.hang_s, most_s=limits.request_timeout_s)
    work(backend, inbox, report, steps=steps, trial=trial_question(settings.max_new_tokens))


def _observe(events: list[Event]) -> None:
    """Observe the stages of each run once: its answers, which come one after another, have the same times."""
    stage_s: dict[str, float] = {}
    for event in events:
        if isinstance(event, Done) and event.result.stage_s != stage_s:
            stage_s = event.result.stage_s
            for stage, seconds in stage_s.items():
                metrics.STAGE_SECONDS.labels(stage).observe(seconds)


def _error(failure: Failure) -> RequestError | None:
    """The exception of a failure; None for a cancelled job."""
    match failure.kind:
        case "invalid":
            return BadRequest(failure.text)
        case "busy":
            return UpstreamBusy(failure.text, retry_after_s=failure.retry_after_s)
        case "upstream":
            return UpstreamFailed(failure.text)
        case "internal":
            return QuestionFailed(failure.text)
        case "cancelled":
            return None


def trial_question(max_new_tokens: int) -> Ask:
    """A question that every backend can answer, for the warm-up and to test an engine that fails."""
    return Ask("Which animals can hover in the air?", k=2, max_new_tokens=max_new_tokens)


def load_backend(settings: Settings) -> Backend[Ask]:
    """Build the backend of these settings. Raises ModelError."""
    log.info("loading profile %s", settings.profile)
    backend = _stub(settings) if settings.profile == "stub" else build(settings)
    log.info("loaded %s", backend.loaded().info)
    return backend if settings.slowdown == 1 else Slowed(backend, settings.slowdown)


def _stub(settings: Settings) -> Stub:
    ends = settings.stub_poison_effect == "ends"
    fails_after_s = settings.stub_fault_after_s if settings.stub_fault == "engine" else math.inf
    return Stub(settings.stub_batch_s, settings.stub_item_s, settings.stub_poison, ends, fails_after_s)
