"""The backend on a thread of the server."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue

from servers.engine import Engine, EngineDied, run
from servers.engine.isolation import EngineUnfit
from servers.engine.loop import Cancel, Inbox, Submit
from servers.rag.pipeline import Ask
from servers.settings import Settings

log = logging.getLogger(__name__)


class EngineThread(Engine):
    """On a thread named `engine`. `run` imports torch there, so that /health is answered meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._inbox: Inbox = SimpleQueue()

    async def stop(self) -> None:
        """End the thread after its current step, which cannot be interrupted and is not waited for."""
        self._inbox.put(None)

    async def _run(self, settings: Settings) -> None:
        loop = asyncio.get_running_loop()
        died: asyncio.Future[None] = loop.create_future()

        def call(function: Callable[..., object], argument: object) -> None:
            with suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(function, argument)

        def work() -> None:
            try:
                run(settings, self._inbox, partial(call, self._dispatch))
            except Exception as error:  # the thread's edge
                log.critical("the engine ends: %s", error, exc_info=None if isinstance(error, EngineUnfit) else error)
                call(fail, EngineDied(f"the engine ended: {error}"))

        def fail(error: EngineDied) -> None:
            if not died.done():
                died.set_exception(error)

        threading.Thread(target=work, name="engine", daemon=True).start()
        await died

    def _send(self, message: Submit[Ask] | Cancel) -> None:
        self._inbox.put(message)
