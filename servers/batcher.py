"""The asyncio shell round a batch policy: collects while the pipeline is busy, runs what the policy closes.

Decides nothing: when to close is `policies/batching.py`, whom to refuse is `policies/admission.py`.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from policies.admission import Admission, Refused, smoothed
from policies.batching import BatchPolicy, Close, Queue, Wait
from servers import metrics
from servers.errors import QueueFull, Unavailable

__all__ = ["Batcher", "Done"]

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

_SEEN = 512  # requests whose length a policy is shown


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """One request's result, and what its batch was like."""

    result: R
    queue_s: float
    batch_size: int
    close_reason: str


@dataclass(slots=True)
class _Item(Generic[T, R]):
    request: T
    arrived_s: float
    deadline_s: float
    tokens: int | None = None
    passed_over_s: float | None = None
    done: asyncio.Future[Done[R]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher(Generic[T, R]):
    """A bounded queue in front of `run`, which takes a list of requests and returns as many results in order."""

    def __init__(
        self,
        run: Callable[[list[T]], Awaitable[Sequence[R]]],
        *,
        policy: BatchPolicy,
        admission: Admission,
        request_timeout_s: float,
        tokens: Callable[[T], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tokens`: how long a request is, for policies that go by that."""
        self._run = run
        self._policy = policy
        self._admission = admission
        self._request_timeout_s = request_timeout_s
        self._tokens = tokens
        self._clock = clock
        self._last_run_s = 0.0
        self._queue: deque[_Item[T, R]] = deque()
        self._arrived = asyncio.Event()
        self._last_batch: int | None = None
        self._rate_rps: float | None = None

    @property
    def waiting(self) -> int:
        """Requests in the queue, without those that are running."""
        return len(self._queue)

    async def submit(self, request: T) -> Done[R]:
        """Wait in the queue for a batch and its run. Raises QueueFull, or whatever the run raised."""
        verdict = self._admission.decide(len(self._queue), self._rate_rps)
        if isinstance(verdict, Refused):
            raise QueueFull(f"too busy: {verdict.reason}", retry_after_s=verdict.retry_after_s)
        now = self._clock()
        length = self._tokens(request) if self._tokens is not None else None
        item = _Item[T, R](request, arrived_s=now, deadline_s=now + self._request_timeout_s, tokens=length)
        self._queue.append(item)
        metrics.QUEUE_DEPTH.set(len(self._queue))
        self._arrived.set()
        return await item.done

    async def serve(self) -> None:
        """Run batches until cancelled; then whoever still waits is answered 503."""
        try:
            while True:
                batch, reason = await self._next_batch()
                await self._run_batch(batch, reason)
        finally:
            self._fail_waiting(Unavailable("the server is stopping", retry_after_s=1))

    async def _next_batch(self) -> tuple[list[_Item[T, R]], str]:
        while True:
            self._arrived.clear()
            self._drop_cancelled()
            try:
                decision = self._policy.decide(self._view(), self._clock())
            except Exception as error:
                log.exception("the batch policy failed; so do the %d requests that wait", len(self._queue))
                self._fail_waiting(error)
                decision = Wait(None)
            if isinstance(decision, Close):
                batch = self._taken(decision)
                metrics.QUEUE_DEPTH.set(len(self._queue))
                return batch, decision.reason
            delay_s = None if decision.until_s is None else decision.until_s - self._clock()
            try:
                async with asyncio.timeout(delay_s):
                    await self._arrived.wait()
            except TimeoutError:
                pass  # the policy named this moment: ask it again

    def _taken(self, decision: Close) -> list[_Item[T, R]]:
        """Take the batch out of the queue, and note whom it passed over."""
        if decision.picked is None:
            return [self._queue.popleft() for _ in range(min(decision.count, len(self._queue)))]
        items, picked = list(self._queue), set(decision.picked)
        for place in set(range(decision.count)) - picked:
            if items[place].passed_over_s is None:
                items[place].passed_over_s = self._clock()
        self._queue = deque(item for place, item in enumerate(items) if place not in picked)
        return [items[place] for place in decision.picked]

    async def _run_batch(self, batch: list[_Item[T, R]], reason: str) -> None:
        started_s = self._clock()
        try:
            results = await self._run([item.request for item in batch])
            assert len(results) == len(batch), f"run gave {len(results)} results for {len(batch)} requests"
        except BaseException as error:
            # A failed batch fails its own requests and nothing else; a cancelled one answers them, then ends the loop.
            stopping = isinstance(error, asyncio.CancelledError)
            for item in batch:
                _fail(item, Unavailable("the server is stopping", retry_after_s=1) if stopping else error)
            if not isinstance(error, Exception):
                raise
            log.exception("a batch of %d failed", len(batch))
            return
        for item, result in zip(batch, results, strict=True):
            if not item.done.done():
                item.done.set_result(Done(result, started_s - item.arrived_s, len(batch), reason))
        self._last_batch = len(batch)
        self._last_run_s = self._clock() - started_s
        self._rate_rps = smoothed(self._rate_rps, len(batch) / max(self._last_run_s, 1e-6))
        metrics.BATCH_SIZE.observe(len(batch))
        metrics.BATCHES.labels(reason).inc()

    def _fail_waiting(self, error: Exception) -> None:
        for item in self._queue:
            _fail(item, error)
        self._queue.clear()

    def _view(self) -> Queue:
        """The policy's picture. One time limit holds for all, so the oldest request has the earliest deadline."""
        if not self._queue:
            return Queue(waiting=0, oldest_s=0.0, newest_s=0.0, last_batch=self._last_batch)
        oldest, newest = self._queue[0], self._queue[-1]
        known = list(islice(self._queue, _SEEN)) if self._tokens is not None else []
        return Queue(
            waiting=len(self._queue),
            oldest_s=oldest.arrived_s,
            newest_s=newest.arrived_s,
            last_batch=self._last_batch,
            earliest_deadline_s=oldest.deadline_s,
            tokens=[item.tokens or 1 for item in known],
            last_run_s=self._last_run_s,
            passed_over_s=[item.passed_over_s for item in known],
        )

    def _drop_cancelled(self) -> None:
        """Forget those whose client gave up or whose time ran out: they must not cost compute."""
        if any(item.done.done() for item in self._queue):
            self._queue = deque(item for item in self._queue if not item.done.done())
            metrics.QUEUE_DEPTH.set(len(self._queue))


def _fail(item: _Item[T, R], error: BaseException) -> None:
    if not item.done.done():
        item.done.set_exception(error)
