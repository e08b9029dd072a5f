"""What runs the pipeline for a server: a thread here, a process in engine_process.py. Decides nothing.

A thread shares Python's lock with the event loop: while it computes between two model calls nobody is answered, and
while somebody is answered it does not compute. A process has its own, and costs a copy of each question and answer.
"""

import asyncio
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol

from servers import exits
from servers.errors import (
    BadRequest,
    EngineEnded,
    QuestionFailed,
    RequestError,
    Unavailable,
    UpstreamBusy,
    UpstreamFailed,
)
from servers.isolation import EngineUnfit
from servers.progress import Progress
from servers.rag.build import build
from servers.rag.failed import Failed
from servers.rag.pipeline import Answered, Ask, Pipeline
from servers.rag.slowed import Slowed
from servers.rag.steps import Steps
from servers.rag.stub import Stub
from servers.settings import Settings
from servers.tasks import Background
from servers.worker import Inbox, work

__all__ = [
    "Engine",
    "EngineDied",
    "EngineThread",
    "Loaded",
    "Outcome",
    "Tickets",
    "about",
    "gone",
    "load_pipeline",
    "told",
]

log = logging.getLogger(__name__)


Outcome = Answered | RequestError
"""What became of one question."""


class EngineDied(RuntimeError):
    """The engine ended before the server did, and nothing can be answered any more. `status` is to exit with."""

    status = exits.ENGINE_ENDED


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the server must know of the pipeline to check questions and to tell of itself.

    `document_chars`: of a document, in the mean; `positions`: the most tokens of a prompt, None where it is not known.
    """

    corpus_size: int
    model_name: str
    joins: bool
    info: dict[str, Any]
    document_chars: int = 0
    positions: int | None = None


class Engine(Protocol):
    """One pipeline and whoever runs it."""

    async def load(self, settings: Settings, background: Background) -> Loaded:
        """Build the pipeline. Raises ModelError. Should the engine end before it is stopped, `background` fails."""

    def run(self, asks: Sequence[Ask]) -> asyncio.Future[Sequence[Outcome]]:
        """The answers, in order, of a run that is under way or next when this returns. Cancelled, it is given up.

        At the place of a question that failed stands its RequestError. Raises Unavailable where the engine has ended.
        """

    def drop(self, run: asyncio.Future[Sequence[Outcome]], place: int) -> None:
        """Nobody waits for the answer at that place of a run any more: it may stay empty."""

    @property
    def progress(self) -> Progress:
        """What it has to do, and whether it gets on with it; after `load`."""

    async def stop(self) -> None:
        """Give up what runs and waits."""


class Tickets:
    """Futures of engine calls by their number, and the engine's progress with them."""

    def __init__(self) -> None:
        self.progress = Progress(hang_s=math.inf)
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    def issue(self) -> tuple[int, asyncio.Future[Any]]:
        """A ticket, and what waits for the answer to it; cancelled, it is forgotten."""
        ticket, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[ticket] = answer
        self.progress.given(ticket, time.monotonic())
        answer.add_done_callback(lambda answer: self._waiting.pop(ticket, None) if answer.cancelled() else None)
        return ticket, answer

    def of(self, answer: asyncio.Future[Any]) -> int | None:
        """The ticket of an answer that is still to come. There are never many."""
        return next((ticket for ticket, future in self._waiting.items() if future is answer), None)

    def settle(self, ticket: int, answer: Any) -> None:
        """Hand an answer to who waits for it, if anyone still does."""
        self.progress.ended(ticket, time.monotonic())
        future = self._waiting.pop(ticket, None)
        if future is None or future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def fail(self) -> None:
        """The engine has ended: tell all who wait."""
        for ticket in list(self._waiting):
            future = self._waiting[ticket]
            self.settle(ticket, EngineEnded("the engine has ended", retry_after_s=1))
            if not future.cancelled():
                future.exception()  # seen, should nobody wait any more


class EngineThread:
    """On a thread named `engine`."""

    def __init__(self) -> None:
        self._inbox: Inbox = SimpleQueue()
        self._tickets = Tickets()
        self._has_ended = False

    @property
    def progress(self) -> Progress:
        """See Engine."""
        return self._tickets.progress

    async def load(self, settings: Settings, background: Background) -> Loaded:
        """`build` imports torch on the thread, so that the port answers /health meanwhile."""
        loop = asyncio.get_running_loop()
        ticket, loaded = self._tickets.issue()
        ended: asyncio.Future[None] = loop.create_future()
        limits = settings.time_limits

        def call(what: Callable[..., object], *given: object) -> None:
            with suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(what, *given)

        def run() -> None:
            try:
                pipeline = load_pipeline(settings)
            except Exception as error:
                call(self._tickets.settle, ticket, error)
                return
            call(self._tickets.settle, ticket, about(pipeline))
            report = partial(call, self._stepped)
            steps = Steps(report, hang_s=limits.hang_s, most_s=limits.request_timeout_s)
            try:
                work(
                    pipeline,
                    self._inbox,
                    lambda ticket, answers: call(self._tickets.settle, ticket, told(answers)),
                    steps=steps,
                    max_new_tokens=settings.max_new_tokens,
                )
            except Exception as error:  # the thread's edge
                log.critical("the engine ends: %s", error, exc_info=None if isinstance(error, EngineUnfit) else error)
                call(self._end, ended, EngineDied(f"the engine ended: {error}"))

        background.start(_raised_by(ended), name="engine")
        threading.Thread(target=run, name="engine", daemon=True).start()
        answer: Loaded = await loaded
        self._tickets.progress.hang_s = limits.hang_s
        return answer

    def run(self, asks: Sequence[Ask]) -> asyncio.Future[Sequence[Outcome]]:
        """See Engine."""
        ticket, answer = self._tickets.issue()
        if self._has_ended:
            self._tickets.settle(ticket, gone())
            return answer
        self._inbox.put((ticket, asks))
        answer.add_done_callback(lambda answer: self._inbox.put((ticket, None)) if answer.cancelled() else None)
        return answer

    def drop(self, run: asyncio.Future[Sequence[Outcome]], place: int) -> None:
        """See Engine."""
        if (ticket := self._tickets.of(run)) is not None:
            self._inbox.put((ticket, place))

    async def stop(self) -> None:
        """End the thread after the run that it is in, which cannot be interrupted and is not waited for."""
        self._inbox.put(None)

    def _stepped(self, allowed_s: float) -> None:
        self._tickets.progress.stepped(time.monotonic(), allowed_s)

    def _end(self, ended: asyncio.Future[None], error: EngineDied) -> None:
        self._has_ended = True
        self._tickets.fail()
        if not ended.done():
            ended.set_exception(error)


def gone() -> Unavailable:
    """For who comes when the engine has ended: another server may answer."""
    return Unavailable("the engine has ended", retry_after_s=1)


def told(answers: Sequence[Answered | Failed]) -> list[Outcome]:
    """The answers as those who wait get them."""
    return [_error(answer) if isinstance(answer, Failed) else answer for answer in answers]


def _error(failed: Failed) -> RequestError:
    match failed.kind:
        case "invalid":
            return BadRequest(failed.text)
        case "busy":
            return UpstreamBusy(failed.text, retry_after_s=failed.retry_after_s)
        case "upstream":
            return UpstreamFailed(failed.text)
        case "internal":
            return QuestionFailed(failed.text)


async def _raised_by(ended: asyncio.Future[None]) -> None:
    await ended


def load_pipeline(settings: Settings) -> Pipeline | Slowed | Stub:
    """Build it, and say so in the log. Raises ModelError."""
    log.info("loading profile %s", settings.profile)
    pipeline = _stub(settings) if settings.profile == "stub" else build(settings)
    log.info("loaded %s", pipeline.info())
    return pipeline if settings.slowdown == 1 else Slowed(pipeline, settings.slowdown)


def _stub(settings: Settings) -> Stub:
    fails_after_s = settings.stub_fault_after_s if settings.stub_fault == "engine" else math.inf
    return Stub(
        settings.stub_batch_s,
        settings.stub_item_s,
        settings.stub_poison,
        ends=settings.stub_poison_effect == "ends",
        fails_after_s=fails_after_s,
    )


def about(pipeline: Pipeline | Slowed | Stub) -> Loaded:
    """What is told of it to the server."""
    return Loaded(
        pipeline.corpus_size,
        pipeline.model_name,
        pipeline.joins,
        pipeline.info(),
        pipeline.document_chars,
        pipeline.positions,
    )
