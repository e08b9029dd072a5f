"""Design 1, baseline: one request at a time, without batching.

Requests that arrive while the pipeline runs wait for a lock in order of arrival. Above capacity the waits grow up to
the limits of `policies/admission.py`.
"""

import asyncio
import time

from fastapi import FastAPI

from policies.admission import Admission
from policies.pace import Pace
from servers.engine.service import RagService
from servers.errors import QueueFull
from servers.http.app import add_task
from servers.http.endpoints import RAG
from servers.http.headers import format_load
from servers.http.state import State
from servers.http.wire import Question, Served, served
from servers.settings import Settings
from servers.tasks import Background
from servers.telemetry import metrics

SETTINGS = Settings


class Baseline(RagService):
    """A bare endpoint: lock, run the pipeline for one question, answer."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._admission = Admission(settings.max_queue, settings.max_predicted_wait_s)
        self._pace = Pace()
        self._waiting = 0
        self._work_waiting = 0  # in usual questions
        self._work_running = 0
        self._turn = asyncio.Lock()

    async def start(self, background: Background) -> None:
        """Load the models and answer one question to warm up."""
        await self.load(background, batch_sizes=[1])

    async def answer(self, question: Question, deadline_s: float) -> Served:
        """Wait for the lock, then run the pipeline for one question."""
        ask = self.check(question)
        arrived_s = time.monotonic()
        work = self.work(ask)
        refused = self._admission.decide(self._work_waiting, self._predicted_s(work), deadline_s - arrived_s)
        if refused is not None:
            metrics.SHED.labels(refused.reason).inc()
            raise QueueFull(f"too busy: {refused.reason}", retry_after_s=refused.retry_after_s)
        started_s = await self._take_turn(work)
        # The lock is released at the end of the run, even if this request was cancelled before.
        try:
            [job] = self.submit([ask])
        except BaseException:
            self._turn.release()
            raise
        job.when_ended(self._turn.release)
        self._work_running = work
        try:
            answered = await asyncio.shield(job.done)
        except asyncio.CancelledError:
            metrics.EXPIRED.labels("run").inc()
            job.cancel()
            raise
        self._pace.ran(work, time.monotonic() - started_s)
        return served(answered, model=self.model_name, queue_s=started_s - arrived_s, batch_size=1)

    async def _take_turn(self, work: int) -> float:
        """Wait for the lock. -> when it was acquired."""
        self._waiting += 1
        self._work_waiting += work
        try:
            await self._turn.acquire()
        except asyncio.CancelledError:
            metrics.EXPIRED.labels("queue").inc()
            raise
        finally:
            self._waiting -= 1
            self._work_waiting -= work
        return time.monotonic()

    def _predicted_s(self, work: int = 1) -> float | None:
        """Predicted seconds until a new request of size `work` is answered."""
        running = self._work_running if self._turn.locked() else 0
        return self._pace.answered_s(self._work_waiting + running + work - 1, max_batch_size=1)

    def mount(self, app: FastAPI, state: State) -> None:
        """`POST /rag`."""
        state.load = lambda: format_load(self._waiting + self._turn.locked(), self._predicted_s())
        state.hangs = self.hangs
        metrics.QUEUE_DEPTH.set_function(lambda: self._waiting)
        add_task(app, state, RAG, self.answer, request_timeout_s=self._settings.request_timeout_s)


def create(settings: Settings) -> Baseline:
    """The design with its settings; nothing is loaded yet."""
    return Baseline(settings)
