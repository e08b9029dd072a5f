"""What runs the pipeline for a server: a thread here, a process in engine_process.py. Decides nothing.

A thread shares Python's lock with the event loop: while it computes between two model calls nobody is answered, and
while somebody is answered it does not compute. A process has its own, and costs a copy of each question and answer.
"""

import asyncio
import itertools
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

from servers.rag.build import build
from servers.rag.pipeline import Answered, Ask, Pipeline
from servers.rag.slowed import Slowed
from servers.rag.stub import Stub
from servers.settings import Settings
from servers.worker import Inbox, work

__all__ = ["Engine", "EngineDied", "EngineThread", "Loaded", "Tickets", "about", "load_pipeline"]

log = logging.getLogger(__name__)


class EngineDied(RuntimeError):
    """The engine ended before the server did, and nothing can be answered any more."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the server must know of the pipeline to check questions and to tell of itself."""

    corpus_size: int
    model_name: str
    joins: bool
    info: dict[str, Any]


class Engine(Protocol):
    """One pipeline and whoever runs it."""

    async def load(self, settings: Settings) -> Loaded:
        """Build the pipeline. Raises ModelError."""

    def run(self, asks: Sequence[Ask]) -> asyncio.Future[Sequence[Answered]]:
        """The answers, in order, of a run that is under way or next when this returns. Cancelled, it is given up."""

    def drop(self, run: asyncio.Future[Sequence[Answered]], place: int) -> None:
        """Nobody waits for the answer at that place of a run any more: it may stay empty."""

    async def stop(self) -> None:
        """Give up what runs and waits. Raises EngineDied where there was no engine left to stop."""


class Tickets:
    """Whom each answer is for."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    def issue(self) -> tuple[int, asyncio.Future[Any]]:
        """A ticket, and what waits for the answer to it; cancelled, it is forgotten."""
        ticket, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[ticket] = answer
        answer.add_done_callback(lambda answer: self._waiting.pop(ticket, None) if answer.cancelled() else None)
        return ticket, answer

    def of(self, answer: asyncio.Future[Any]) -> int | None:
        """The ticket of an answer that is still to come. There are never many."""
        return next((ticket for ticket, future in self._waiting.items() if future is answer), None)

    def settle(self, ticket: int, answer: Any) -> None:
        """Hand an answer to who waits for it, if anyone still does."""
        future = self._waiting.pop(ticket, None)
        if future is None or future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Tell all who wait."""
        for ticket in list(self._waiting):
            future = self._waiting[ticket]
            self.settle(ticket, error)
            if not future.cancelled():
                future.exception()  # seen, should nobody wait any more


class EngineThread:
    """On a thread named `engine`."""

    def __init__(self) -> None:
        self._inbox: Inbox = SimpleQueue()
        self._tickets = Tickets()

    async def load(self, settings: Settings) -> Loaded:
        """`build` imports torch on the thread, so that the port answers /health meanwhile."""
        loop = asyncio.get_running_loop()
        ticket, loaded = self._tickets.issue()

        def reply(ticket: int, answer: Any) -> None:
            with suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(self._tickets.settle, ticket, answer)

        def run() -> None:
            try:
                pipeline = load_pipeline(settings)
            except Exception as error:
                reply(ticket, error)
                return
            reply(ticket, about(pipeline))
            work(pipeline, self._inbox, reply)

        threading.Thread(target=run, name="engine", daemon=True).start()
        answer: Loaded = await loaded
        return answer

    def run(self, asks: Sequence[Ask]) -> asyncio.Future[Sequence[Answered]]:
        """See Engine."""
        ticket, answer = self._tickets.issue()
        self._inbox.put((ticket, asks))
        answer.add_done_callback(lambda answer: self._inbox.put((ticket, None)) if answer.cancelled() else None)
        return answer

    def drop(self, run: asyncio.Future[Sequence[Answered]], place: int) -> None:
        """See Engine."""
        if (ticket := self._tickets.of(run)) is not None:
            self._inbox.put((ticket, place))

    async def stop(self) -> None:
        """End the thread after the run that it is in, which cannot be interrupted and is not waited for."""
        self._inbox.put(None)


def load_pipeline(settings: Settings) -> Pipeline | Slowed | Stub:
    """Build it, and say so in the log. Raises ModelError."""
    log.info("loading profile %s", settings.profile)
    is_stub = settings.profile == "stub"
    pipeline = Stub(settings.stub_batch_s, settings.stub_item_s) if is_stub else build(settings)
    log.info("loaded %s", pipeline.info())
    return pipeline if settings.slowdown == 1 else Slowed(pipeline, settings.slowdown)


def about(pipeline: Pipeline | Slowed | Stub) -> Loaded:
    """What is told of it to the server."""
    return Loaded(pipeline.corpus_size, pipeline.model_name, pipeline.joins, pipeline.info())
