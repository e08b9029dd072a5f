"""Design 1, baseline: one request at a time; no batching, and no queue but the line at the lock.

Every further design is this one plus something. Whoever arrives while the pipeline runs waits for the lock, in order of
arrival and without a bound, so that at a load over its capacity the waits grow for as long as the load lasts.
"""

import asyncio
import time
from typing import Any

from fastapi import FastAPI

from servers.api import Question, Served, State, add_rag_route
from servers.service import RagService
from servers.settings import Settings

__all__ = ["SETTINGS", "Baseline", "create"]

SETTINGS = Settings


class Baseline:
    """A bare endpoint: lock, run the pipeline for one question, answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rag = RagService(settings)
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Load the models and answer one question, so that the first client does not pay for it."""
        await self._rag.start(batch_sizes=[1])

    async def answer(self, question: Question) -> Served:
        """Wait for the pipeline, then have it to oneself."""
        ask = self._rag.check(question)
        arrived_s = time.monotonic()
        await self._turn.acquire()
        queue_s = time.monotonic() - arrived_s
        # A run cannot be interrupted: whoever gives up leaves it going, and the next one waits for its end, not ours.
        running = self._rag.run([ask])
        running.add_done_callback(lambda _: self._turn.release())
        [answered] = await asyncio.shield(running)
        return self._rag.served(answered, queue_s=queue_s, batch_size=1)

    async def stop(self) -> None:
        """Release the engine."""
        await self._rag.stop()

    def info(self) -> dict[str, Any]:
        """Models, corpus, device, versions."""
        return self._rag.info()

    def mount(self, app: FastAPI, state: State) -> None:
        """`POST /rag`."""
        add_rag_route(app, state, self.answer, request_timeout_s=self._settings.request_timeout_s)


def create(settings: Settings) -> Baseline:
    """The design with its settings; nothing is loaded yet."""
    return Baseline(settings)
