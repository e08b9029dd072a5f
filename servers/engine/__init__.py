"""The contract of an engine, which runs the pipeline for a server: on a thread or in a process. Decides nothing.

A thread shares Python's lock with the event loop: while it computes between two model calls nobody is answered, and
while somebody is answered it does not compute. A process has its own, and costs a copy of each question and answer.
"""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from servers import exits
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
from servers.rag.failed import Failed
from servers.rag.fakes import Slowed, Stub
from servers.rag.pipeline import Answered, Ask, Pipeline
from servers.settings import Settings
from servers.tasks import Background

__all__ = [
    "Engine",
    "EngineDied",
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
