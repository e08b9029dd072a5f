"""A server in virtual time: a bounded queue, a batch policy, one pipeline. What `servers/queueing/batcher.py` does.

The baseline is the same with batches of one and no bound.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from random import Random

from policies.admission import Admission, Refused, smoothed
from policies.batching import BatchPolicy, Close, Queue
from policies.returning import Returning
from ragbench.simulator.batches import Moment
from ragbench.simulator.machine import Heap, Machine, Work
from ragbench.simulator.service_times import Drawn, ServiceTimes


@dataclass(slots=True)
class Visit:
    """A request at a server. `over` is called once, with how it ended."""

    deadline_s: float
    over: Callable[["Visit", str], None]
    arrived_s: float = 0.0
    started_s: float = 0.0
    batch_size: int = 0
    close_reason: str | None = None
    network_s: float = 0.0
    stages_s: tuple[float, ...] = ()
    replica: str | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Server:
    """One pipeline with its queue, on a machine."""

    heap: Heap
    times: ServiceTimes
    policy: BatchPolicy
    admission: Admission | None
    rng: Random
    machine: Machine
    is_dead: bool = False
    _queue: deque[Visit] = field(default_factory=deque)
    _running: list[Visit] = field(default_factory=list)
    _work: Work | None = None
    _last_batch: int | None = None
    _rate_rps: float | None = None
    _returning: Returning = field(default_factory=Returning)
    _epoch: int = 0
    _is_held: bool = False  # a batch has ended and its answers are on their way: the next cannot start yet
    _turn_s: float = 0.0

    def submit(self, visit: Visit) -> None:
        """Take a request in, or refuse it."""
        visit.arrived_s = self.heap.now
        if self.is_dead:
            visit.over(visit, "connection_error")
            return
        if self.admission is not None:
            verdict = self.admission.decide(len(self._queue), self._predicted_s())
            if isinstance(verdict, Refused):
                visit.over(visit, "rejected")
                return
        self._queue.append(visit)
        self.machine.held += 1
        self._returning.arrived(self.heap.now)
        if not self._running and not self._is_held:
            self._decide()

    def die(self) -> None:
        """Lose everything that is here."""
        self.is_dead = True
        lost, self._queue = [*self._running, *self._queue], deque()
        if self._work is not None:
            self.machine.stop(self._work)
        self._running = []
        for visit in lost:
            self._leave(visit, "connection_error")

    def _predicted_s(self) -> float | None:
        return len(self._queue) / self._rate_rps if self._rate_rps else None

    def _decide(self) -> None:
        now = self.heap.now
        while self._queue and self._queue[0].deadline_s <= now:
            late = self._queue.popleft()
            self._leave(late, "timeout")
        decision = self.policy.decide(self._view(), now)
        self._epoch += 1
        if isinstance(decision, Close):
            batch = [self._queue.popleft() for _ in range(min(decision.count, len(self._queue)))]
            self._start(batch, reason=decision.reason)
        elif decision.until_s is not None:
            self.heap.at(decision.until_s, self._ask_again, self._epoch)

    def _ask_again(self, epoch: int) -> None:
        if epoch == self._epoch and not self._running and not self._is_held and not self.is_dead:
            self._decide()

    def _view(self) -> Queue:
        if not self._queue:
            return Queue(waiting=0, oldest_s=0.0, newest_s=0.0, last_batch=self._last_batch)
        oldest, newest = self._queue[0], self._queue[-1]
        return Queue(
            waiting=len(self._queue),
            oldest_s=oldest.arrived_s,
            newest_s=newest.arrived_s,
            last_batch=self._last_batch,
            earliest_deadline_s=oldest.deadline_s,
            ended_s=self._returning.ended_s,
            since_last=self._returning.since_last,
            returning=self._returning.share,
        )

    def _start(self, batch: list[Visit], *, reason: str) -> None:
        now = self.heap.now
        start = self._moment(len(batch), self._idle_s(batch))
        drawn = self.times.draw(start, self.rng)
        self._running = batch
        start_s = now + drawn.dispatch_s
        for visit in batch:
            visit.started_s, visit.batch_size, visit.close_reason = start_s, len(batch), reason
        self._work = Work(len(batch), sum(drawn.stages_s), partial(self._end, batch, start, drawn, now))
        self.heap.at(start_s, self._compute, self._work)

    def _compute(self, work: Work) -> None:
        if not self.is_dead:
            self.machine.start(work)

    def _moment(self, size: int, idle_s: float) -> Moment:
        return Moment(size, self.machine.computing, idle_s, self.machine.held - size)

    def _idle_s(self, batch: list[Visit]) -> float:
        ended_s = self._returning.ended_s
        if ended_s is None:
            return inf
        return 0.0 if batch[0].arrived_s <= ended_s + self._turn_s else self.heap.now - ended_s

    def _end(self, batch: list[Visit], start: Moment, drawn: Drawn, closed_s: float) -> None:
        now = self.heap.now
        alone_s, took_s = sum(drawn.stages_s), now - batch[0].started_s
        stages_s = tuple(stage * took_s / alone_s if alone_s else 0.0 for stage in drawn.stages_s)
        networks_s = self.times.networks_s(self._moment(len(batch), start.idle_s), self.rng)
        self._running, self._work = [], None
        self._is_held = True
        self._returning.ended(now, len(batch))
        self._last_batch = len(batch)
        self._rate_rps = smoothed(self._rate_rps, len(batch) / max(now - closed_s, 1e-6))
        for visit, network_s in zip(batch, networks_s, strict=True):
            visit.stages_s, visit.network_s = stages_s, network_s
            self._leave(visit, "ok")
        self._turn_s = drawn.turnaround_s
        self.heap.at(now + self._turn_s, self._free)

    def _leave(self, visit: Visit, status: str) -> None:
        self.machine.held -= 1
        visit.over(visit, status)

    def _free(self) -> None:
        self._is_held = False
        if not self.is_dead:
            self._decide()
