"""The backend on a thread of the server."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

from servers.backend import Loaded
from servers.backend.job import Job
from servers.backend.steps import Steps
from servers.engine import EngineDied, Jobs, load_backend, trial_question
from servers.engine.isolation import EngineUnfit
from servers.engine.loop import Cancel, Inbox, work
from servers.engine.progress import Progress
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings
from servers.tasks import Background

log = logging.getLogger(__name__)


class EngineThread:
    """On a thread named `engine`."""

    def __init__(self) -> None:
        self._inbox: Inbox = SimpleQueue()
        self._jobs = Jobs()

    @property
    def progress(self) -> Progress:
        """As the thread reports it."""
        return self._jobs.progress

    async def load(self, settings: Settings, background: Background) -> Loaded:
        """`build` imports torch on the thread, so that /health is answered meanwhile."""
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[Loaded] = loop.create_future()
        ended: asyncio.Future[None] = loop.create_future()

        def call(function: Callable[..., object], *arguments: object) -> None:
            with suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(function, *arguments)

        def run() -> None:
            try:
                backend = load_backend(settings)
            except Exception as error:
                call(_settle, loaded, error)
                return
            call(_settle, loaded, backend.loaded())
            limits = settings.time_limits
            steps = Steps(partial(call, self._jobs.stepped), hang_s=limits.hang_s, most_s=limits.request_timeout_s)
            trial = trial_question(settings.max_new_tokens)
            try:
                work(backend, self._inbox, partial(call, self._jobs.dispatch), steps=steps, trial=trial)
            except Exception as error:  # the thread's edge
                log.critical("the engine ends: %s", error, exc_info=None if isinstance(error, EngineUnfit) else error)
                call(self._jobs.end)
                call(_settle, ended, EngineDied(f"the engine ended: {error}"))

        background.start(_raised_by(ended), name="engine")
        threading.Thread(target=run, name="engine", daemon=True).start()
        answer = await loaded
        self._jobs.progress.hang_s = settings.time_limits.hang_s
        return answer

    def submit(self, asks: Sequence[Ask], *, stream: bool = False) -> list[Job[Answered]]:
        """Into the thread's inbox."""
        message, jobs = self._jobs.issue(asks, self._cancel, stream=stream)
        if not self._jobs.has_ended:
            self._inbox.put(message)
        return jobs

    async def stop(self) -> None:
        """End the thread after its current step, which cannot be interrupted and is not waited for."""
        self._inbox.put(None)

    def _cancel(self, job: int) -> None:
        self._inbox.put(Cancel(job))


def _settle(future: "asyncio.Future[Any]", outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


async def _raised_by(ended: asyncio.Future[None]) -> None:
    await ended
