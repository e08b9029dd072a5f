"""The pipeline on a thread of the server."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue

from servers.engine import EngineDied, Loaded, Outcome, Tickets, about, gone, load_pipeline, told
from servers.engine.isolation import EngineUnfit
from servers.engine.loop import Inbox, work
from servers.engine.progress import Progress
from servers.rag.pipeline import Ask
from servers.rag.steps import Steps
from servers.settings import Settings
from servers.tasks import Background

__all__ = ["EngineThread"]

log = logging.getLogger(__name__)


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


async def _raised_by(ended: asyncio.Future[None]) -> None:
    await ended
