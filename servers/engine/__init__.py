"""The contract of an engine, which runs a backend for a server on a thread or in a process.

A thread shares Python's global lock with the event loop, so that each holds up the other. A process has a lock of its
own, and costs a copy of each question and answer.
"""

import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from servers import exits
from servers.backend import Backend, Chunk, Done, Event, Failure, Loaded
from servers.backend.job import Job
from servers.engine.loop import Submit
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
from servers.rag.pipeline import Answered, Ask
from servers.rag.stepping import PipelineBackend
from servers.settings import Settings
from servers.tasks import Background

log = logging.getLogger(__name__)


class EngineDied(RuntimeError):
    """The engine ended before the server; nothing can be answered any more. `status` is the exit status."""

    status = exits.ENGINE_ENDED


class Engine(Protocol):
    """A backend and the thread or process that runs it."""

    async def load(self, settings: Settings, background: Background) -> Loaded:
        """Build the backend. Raises ModelError. If the engine ends before `stop`, a task of `background` fails."""

    def submit(self, asks: Sequence[Ask], *, stream: bool = False) -> list[Job[Answered]]:
        """Jobs of one batch, which runs now or next; with `stream`, with their chunks.

        A job raises the RequestError of its own failure, or Unavailable if the engine has ended.
        """

    @property
    def progress(self) -> Progress:
        """Its running jobs and its progress; after `load`."""

    async def stop(self) -> None:
        """Give up all jobs."""


class Jobs:
    """Jobs that the engine has not ended, and its progress with them."""

    def __init__(self) -> None:
        self.progress = Progress(hang_s=math.inf)
        self.has_ended = False
        self._numbers = itertools.count()
        self._running: dict[int, Job[Any]] = {}

    def issue(
        self, asks: Sequence[Ask], cancel: Callable[[int], None], *, stream: bool
    ) -> tuple[Submit, list[Job[Answered]]]:
        """The message to the engine, and its jobs; they have failed if the engine has ended."""
        jobs: list[Job[Answered]] = [Job(next(self._numbers), cancel, stream=stream) for _ in asks]
        now = time.monotonic()
        for job in jobs:
            self._running[job.number] = job
            self.progress.started(job.number, now)
        if self.has_ended:
            self.fail(jobs, Unavailable("the engine has ended", retry_after_s=1))
        return Submit(jobs[0].number, asks, stream), jobs

    def dispatch(self, events: Sequence[Event]) -> None:
        """Give events of the engine to their jobs."""
        now = time.monotonic()
        for event in events:
            if isinstance(event, Chunk):
                if (job := self._running.get(event.job)) is not None:
                    job.add(event)
            else:
                self._end(event.job, event.result if isinstance(event, Done) else _error(event.failure), now)

    def stepped(self, allowed_s: float) -> None:
        """Note progress; the next step may take `allowed_s`."""
        self.progress.stepped(time.monotonic(), allowed_s)

    def fail(self, jobs: Sequence[Job[Answered]], error: Exception) -> None:
        """End these jobs with an error."""
        now = time.monotonic()
        for job in jobs:
            self._end(job.number, error, now)

    def end(self) -> None:
        """Note that the engine has ended, and end all jobs."""
        self.has_ended = True
        self.fail(list(self._running.values()), EngineEnded("the engine has ended", retry_after_s=1))

    def _end(self, number: int, outcome: Answered | Exception | None, now: float) -> None:
        self.progress.ended(number, now)
        if (job := self._running.pop(number, None)) is not None:
            job.end(outcome)


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
    backend = _stub(settings) if settings.profile == "stub" else PipelineBackend(build(settings))
    log.info("loaded %s", backend.loaded().info)
    return backend if settings.slowdown == 1 else Slowed(backend, settings.slowdown)


def _stub(settings: Settings) -> Stub:
    ends = settings.stub_poison_effect == "ends"
    fails_after_s = settings.stub_fault_after_s if settings.stub_fault == "engine" else math.inf
    return Stub(settings.stub_batch_s, settings.stub_item_s, settings.stub_poison, ends, fails_after_s)
