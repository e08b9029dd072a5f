"""The batcher: collects requests while the pipeline is busy, and runs the batches that a policy closes.

`policies/batching.py` decides when to close a batch, `policies/admission.py` which requests are refused.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from policies.admission import Admission, smoothed
from policies.batching import BatchPolicy, Close, Queue, Wait
from policies.costs import Costs
from policies.pace import Pace
from policies.returning import Returning
from policies.think_time import ThinkTimes
from servers.backend.job import Job
from servers.errors import QueueFull, Unavailable
from servers.queueing import Line
from servers.queueing.batch import Batch, Done, Item, fail, is_its_own
from servers.queueing.line import LocalLine
from servers.telemetry import metrics

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

_SEEN = 512  # requests whose length a policy sees
_POLICY_FAILURES = 3  # in a row, before the batcher ends


class Batcher(Generic[T, R]):
    """A bounded queue in front of `submit`, which takes a list of requests and returns a job for each.

    While a batch runs, the next one is submitted as soon as it is full: no later request could join it, and the
    pipeline need not wait for the batcher. A pipeline that `is_continuous` gets each request by itself, with at most
    `max_batch_size` running.
    """

    def __init__(  # noqa: PLR0913  each is another part of the pipeline or of the rules
        self,
        submit: Callable[[list[T]], Sequence[Job[R]]],
        *,
        policy: BatchPolicy,
        admission: Admission,
        max_batch_size: int,
        is_continuous: bool = False,
        tokens: Callable[[T], int] | None = None,
        work: Callable[[T], int] = lambda request: 1,
        line: Line[Item[T, R]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tokens`: length of a request, for policies; `work`: its size in usual requests, for admission."""
        self._submit = submit
        self._policy = policy
        self._admission = admission
        self._max_batch_size = max_batch_size
        self.is_continuous = is_continuous
        self._tokens = tokens
        self._work = work
        self._clock = clock
        self._line = LocalLine[Item[T, R]]() if line is None else line
        self._policy_failures = 0
        self._fault: Exception | None = None
        self._taken: list[Batch[T, R]] = []
        self._returning, self._think_times, self._costs = Returning(), ThinkTimes(), Costs()
        self._last_batch: int | None = None
        self._last_run_s = 0.0
        self._pace = Pace()
        self._rate_rps: float | None = None

    @property
    def outstanding(self) -> int:
        """Number of requests that are not answered."""
        return len(self._line) + sum(len(batch.items) for batch in self._taken)

    @property
    def waiting(self) -> int:
        """Size, in usual requests, of the queue and of a batch that was submitted early."""
        ahead = 0 if self.is_continuous else sum(batch.work for batch in self._taken[1:])
        return self._line.work + ahead

    def __len__(self) -> int:
        """Number of requests in the queue."""
        return len(self._line)

    def predicted_s(self, now: float, work: int = 1) -> float | None:
        """Predicted seconds until a new request of size `work` is answered; None before the first run."""
        ahead = self.waiting + work - 1
        if self.is_continuous:
            return (ahead + 1) / self._rate_rps if self._rate_rps else None
        rest_s = 0.0
        if self._taken:
            began_s = max(self._taken[0].taken_s, self._returning.ended_s or 0.0)
            rest_s = max(0.0, began_s + (self._pace.run_s(self._taken[0].work) or 0.0) - now)
        return self._pace.answered_s(ahead, max_batch_size=self._max_batch_size, rest_s=rest_s)

    async def submit(self, request: T, *, deadline_s: float = math.inf) -> Done[R]:
        """The result of a request that expires at `deadline_s` on our clock. Raises QueueFull, or what the run does."""
        now, waiting, work = self._clock(), self.waiting, self._work(request)
        if not self._admission.is_open(waiting):
            refused = self._admission.decide(waiting, self.predicted_s(now, work), deadline_s - now)
            if refused is not None:
                metrics.SHED.labels(refused.reason).inc()
                raise QueueFull(f"too busy: {refused.reason}", retry_after_s=refused.retry_after_s)
        length = self._tokens(request) if self._tokens is not None else None
        item: Item[T, R] = Item(request, now, deadline_s, work, length)
        self._line.put(item)
        self._returning.arrived(now)
        self._think_times.arrived(now)
        if self._room() > 0:
            self._line.stir()
        try:
            return await item.done
        except asyncio.CancelledError:
            self._give_up(item)
            raise

    def fail(self, error: Exception) -> None:
        """Make `serve` raise this error."""
        self._fault = error
        self._line.stir()

    async def serve(self) -> None:
        """Run batches until cancelled, and then fail all requests. Raises an error that a policy raises repeatedly."""
        try:
            while True:
                for batch in self._dealt(await self._next_batch()):
                    self._run(batch)
        finally:
            stopping = Unavailable("the server is stopping", retry_after_s=1)
            for batch in self._taken:
                fail(batch.items, stopping)
            self._fail_waiting(stopping)

    async def _next_batch(self) -> Batch[T, R]:
        while True:
            if self._fault is not None:
                raise self._fault
            decision = self._decision()
            if isinstance(decision, Close):
                items = self._picked(decision)
                return Batch(items, decision.reason, len(items), self._clock())
            delay_s = None if decision.until_s is None else decision.until_s - self._clock()
            if not await self._line.wait(delay_s):
                # The policy named this moment: let requests that have already arrived enter the queue first.
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    def _decision(self) -> Close | Wait:
        """The policy's decision, if a request waits and the pipeline can take a batch."""
        room = self._room()
        if not self._line or room <= 0:
            return Wait(None)
        is_early = len(self._taken) > 0 and not self.is_continuous
        try:
            decision = self._policy.decide(self._view(), self._clock())
            if isinstance(decision, Close):
                decision.check(len(self._line))
        except Exception as error:
            log.exception("the batch policy failed, and with it %d waiting requests", len(self._line))
            self._fail_waiting(error)
            self._policy_failures += 1
            if self._policy_failures == _POLICY_FAILURES:
                raise
            return Wait(None)
        self._policy_failures = 0
        if isinstance(decision, Wait):
            return decision if not is_early else Wait(None)
        if is_early and (decision.picked is not None or decision.count < self._max_batch_size):
            return Wait(None)
        if decision.count <= room:
            return decision
        return replace(decision, count=room, picked=None if decision.picked is None else decision.picked[:room])

    def _room(self) -> int:
        """How many requests can be taken: none while a batch runs, unless a full one waits."""
        if self.is_continuous:
            return self._max_batch_size - len(self._taken)
        running = len(self._taken)
        is_free = running == 0 or (running == 1 and len(self._line) >= self._max_batch_size)
        return self._max_batch_size if is_free else 0

    def _picked(self, decision: Close) -> list[Item[T, R]]:
        """Take the batch out of the queue, and note the requests that it passes over."""
        oldest = self._line.first(decision.count)
        picked = range(len(oldest)) if decision.picked is None else decision.picked
        for place in set(range(len(oldest))).difference(picked):
            if oldest[place].passed_over_s is None:
                oldest[place].passed_over_s = self._clock()
        return self._line.take(picked)

    def _dealt(self, batch: Batch[T, R]) -> list[Batch[T, R]]:
        """The batches to submit: for a continuous pipeline one a request, whose `size` is how many run with it."""
        if not self.is_continuous:
            return [batch]
        before = len(self._taken)
        return [Batch([item], batch.reason, before + n, batch.taken_s) for n, item in enumerate(batch.items, start=1)]

    def _run(self, batch: Batch[T, R]) -> None:
        """Submit the batch; `_finish` follows when its last job has ended."""
        self._taken.append(batch)
        jobs = self._submit([item.request for item in batch.items])
        left = len(jobs)

        def ended() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                self._finish(batch, [job.outcome for job in jobs])

        for item, job in zip(batch.items, jobs, strict=True):
            item.job = job
            job.when_ended(ended)

    def _finish(self, batch: Batch[T, R], outcomes: list[R | Exception | None]) -> None:
        """Answer; None is a cancelled job. An error of all jobs that concerns no single request fails the batch."""
        known = [outcome for outcome in outcomes if outcome is not None]
        faults = [error for error in known if isinstance(error, Exception) and not is_its_own(error)]
        if faults and len(faults) == len(known):
            self._failed(batch, faults[0])
        elif not known:
            self._leave(batch)
        else:
            # The next batch goes to the engine first: it runs while these answers are written.
            asyncio.get_running_loop().call_soon(self._answer, batch, outcomes, self._ended(batch))

    @staticmethod
    def _answer(batch: Batch[T, R], outcomes: list[R | Exception | None], started_s: float) -> None:
        for item, outcome in zip(batch.items, outcomes, strict=True):
            if isinstance(outcome, Exception):
                fail([item], outcome)
            elif outcome is not None and not item.done.done():
                item.done.set_result(Done(outcome, started_s - item.arrived_s, batch.size, batch.reason))

    def _failed(self, batch: Batch[T, R], error: Exception) -> None:
        if isinstance(error, Unavailable):  # the engine has ended, and logs why
            log.warning("a batch of %d was not run: %s", len(batch.items), error)
        else:
            log.error("a batch of %d failed", len(batch.items), exc_info=error)
        self._returning.ended(self._clock(), 0)
        self._think_times.ended(self._clock(), 0)
        self._leave(batch)
        fail(batch.items, error)

    def _ended(self, batch: Batch[T, R]) -> float:
        """Note the end of a run, and wake the policy before the clients. -> when the run began."""
        now, before_s = self._clock(), self._returning.ended_s
        started_s = batch.taken_s if before_s is None or self.is_continuous else max(batch.taken_s, before_s)
        self._returning.ended(now, batch.size)
        self._think_times.ended(now, batch.size)
        self._last_batch = batch.size
        self._last_run_s = now - started_s
        self._rate_rps = smoothed(self._rate_rps, batch.size / max(self._last_run_s, 1e-6))
        self._pace.ran(batch.work, self._last_run_s)
        self._costs.ran(batch.size, self._last_run_s)
        metrics.BATCH_SIZE.observe(batch.size)
        metrics.BATCHES.labels(batch.reason).inc()
        self._leave(batch)
        return started_s

    def _leave(self, batch: Batch[T, R]) -> None:
        self._taken.remove(batch)
        self._line.acknowledge(batch.items)
        self._line.stir()

    def _fail_waiting(self, error: Exception) -> None:
        fail(self._line.take(range(len(self._line))), error)

    def _view(self) -> Queue:
        """The queue for the policy. A continuous pipeline waits for no returning users, who can join later."""
        oldest, newest = self._line.ends()
        known = self._line.first(_SEEN) if self._tokens is not None else []
        return Queue(
            waiting=len(self._line),
            oldest_s=oldest.arrived_s,
            newest_s=newest.arrived_s,
            last_batch=self._last_batch,
            earliest_deadline_s=self._line.earliest_deadline_s(),
            tokens=[item.tokens or 1 for item in known],
            last_run_s=self._last_run_s,
            passed_over_s=[item.passed_over_s for item in known],
            ended_s=self._returning.ended_s,
            since_last=self._returning.since_last,
            returning=0.0 if self.is_continuous else self._returning.share,
            costs=self._costs,
            think_times=None if self.is_continuous else self._think_times,
        )

    def _give_up(self, item: Item[T, R]) -> None:
        """Forget a request whose client has gone or whose time is over."""
        if self._line.leave(item):
            metrics.EXPIRED.labels("queue").inc()
        elif item.job is not None and not item.job.has_ended:
            metrics.EXPIRED.labels("run").inc()
            item.job.cancel()
