"""Design 2, batched: a bounded queue and a batcher in front of the same pipeline.

One run over 32 questions takes far less than 32 runs, so waiting requests are answered together. One policy decides
when a batch closes (`policies/batching.py`), another which requests are refused (`policies/admission.py`).
"""

import asyncio
import time

from fastapi import FastAPI
from pydantic import Field

from policies import batching
from policies.admission import Admission
from servers.engine.service import RagService
from servers.http.app import add_task
from servers.http.endpoints import RAG
from servers.http.headers import format_load
from servers.http.state import State
from servers.http.wire import Question, Served, served
from servers.queueing.batcher import Batcher
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings, chosen
from servers.tasks import Background
from servers.telemetry import metrics


class BatchedSettings(Settings):
    """What can be set on the queue and the batcher."""

    policy: str = Field("late_binding", description=f"when a batch closes: {' or '.join(batching.POLICIES)}")
    max_batch_size: int = Field(32, ge=1, description="the most requests in one batch")
    max_wait_s: float = Field(0.05, ge=0, description="the longest that a batch stays open while the pipeline is free")
    lull_s: float = Field(0.0015, ge=0, description="a batch closes when nothing arrived for so long (late_binding)")
    max_batch_tokens: int | None = Field(
        None, ge=1, description="a batch's longest question times their number (late_binding, length_aware)"
    )
    look_ahead: int = Field(4, ge=1, description="batches' worth of requests to choose from (length_aware)")
    deadline_margin_s: float = Field(0.0, ge=0, description="time left for the run at a deadline (late_binding)")


SETTINGS = BatchedSettings


class Batched(RagService):
    """Questions go into the batcher's queue; the batcher runs the pipeline on whole batches."""

    def __init__(self, settings: BatchedSettings) -> None:
        super().__init__(settings)
        self._most = settings.max_batch_size
        self._batcher: Batcher[Ask, Answered] = Batcher(
            self.submit,
            policy=chosen("policy", batching.POLICIES, settings),
            admission=Admission(settings.max_queue, settings.max_predicted_wait_s, never_late=self._most),
            max_batch_size=self._most,
            tokens=self.tokens,
            work=self.work,
        )

    async def start(self, background: Background) -> None:
        """Load the models, warm up with every power of two up to the largest batch, start the batcher."""
        sizes = {*(2**n for n in range(self._most.bit_length())), self._most}
        await self.load(background, batch_sizes=sorted(sizes))
        self._batcher.is_continuous = self.is_continuous
        background.keep(self._batcher.serve(), name="batcher")
        if self._settings.stub_fault == "batcher":
            background.start(self._fail_later(self._settings.stub_fault_after_s), name="a fault to order")

    async def answer(self, question: Question, deadline_s: float) -> Served:
        """Wait for the batch with this question."""
        done = await self._batcher.submit(self.check(question), deadline_s=deadline_s)
        return served(
            done.result,
            model=self.model_name,
            queue_s=done.queue_s,
            batch_size=done.batch_size,
            close_reason=done.close_reason,
        )

    def mount(self, app: FastAPI, state: State) -> None:
        """`POST /rag`."""
        state.load = lambda: format_load(self._batcher.outstanding, self._predicted_s())
        state.hangs = self.hangs
        metrics.QUEUE_DEPTH.set_function(self._batcher.__len__)
        metrics.PREDICTED_WAIT.set_function(lambda: self._predicted_s() or 0.0)
        add_task(app, state, RAG, self.answer, request_timeout_s=self._settings.request_timeout_s)

    async def _fail_later(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._batcher.fail(RuntimeError("a fault to order: the batcher ends"))

    def _predicted_s(self) -> float | None:
        return self._batcher.predicted_s(time.monotonic())


def create(settings: BatchedSettings) -> Batched:
    """The design with its settings; nothing is loaded yet. Raises ValueError on an unknown policy."""
    return Batched(settings)
