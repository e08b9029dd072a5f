"""A server in virtual time: a bounded queue, a batch policy, one pipeline. What `servers/queueing/batcher.py` does.

The baseline is the same with batches of one and no bound.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from random import Random
from typing import Any

from policies.admission import Admission, smoothed
from policies.batching import BatchPolicy, Close, Queue
from policies.costs import Costs
from policies.returning import Returning
from policies.think_time import ThinkTimes
from ragbench.simulator.machine import Heap, Machine, Work
from ragbench.simulator.service_times import STAGES, Drawn, Moment, ServiceTimes


@dataclass(slots=True)
class Visit:
    """A request at a server. `over` is called once, with how it ended. `reported`: cells of its row, if answered."""

    deadline_s: float
    over: Callable[["Visit", str], None]
    arrived_s: float = 0.0
    network_s: float = 0.0
    reported: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False, kw_only=True)
class Server:
    """One pipeline with its queue, on a machine.

    `_is_busy`: from a batch's start until its answers are on their way and the next may start.
    """

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
    _is_busy: bool = False
    _decisions: int = 0
    _last_batch: int | None = None
    _rate_rps: float | None = None
    _returning: Returning = field(default_factory=Returning)
    _think_times: ThinkTimes = field(default_factory=ThinkTimes)
    _costs: Costs = field(default_factory=Costs)
    _turn_s: float = 0.0

    def submit(self, visit: Visit) -> None:
        """Take a request in, or refuse it."""
        visit.arrived_s = self.heap.now
        if self.is_dead:
            visit.over(visit, "connection_error")
            return
        predicted_s = len(self._queue) / self._rate_rps if self._rate_rps else None
        if self.admission and self.admission.decide(len(self._queue), predicted_s) is not None:
            visit.over(visit, "rejected")
            return
        self._queue.append(visit)
        self.machine.held += 1
        self._returning.arrived(self.heap.now)
        self._think_times.arrived(self.heap.now)
        if not self._is_busy:
            self._decide(self._decisions)

    def die(self) -> None:
        """Lose everything that is here."""
        self.is_dead = True
        if self._work is not None:
            self.machine.stop(self._work)
        lost, self._running, self._queue, self._work = [*self._running, *self._queue], [], deque(), None
        for visit in lost:
            self._leave(visit, "connection_error")

    def _decide(self, decisions: int) -> None:
        """Close a batch, or wait: until the next arrival, or the moment that the policy names.

        Nothing where more than `decisions` were made meanwhile.
        """
        now = self.heap.now
        if decisions != self._decisions or self.is_dead:
            return
        while self._queue and self._queue[0].deadline_s <= now:
            self._leave(self._queue.popleft(), "timeout")
        if not self._queue:
            return
        decision = self.policy.decide(self._view(), now)
        self._decisions += 1
        if isinstance(decision, Close):
            batch = [self._queue.popleft() for _ in range(min(decision.count, len(self._queue)))]
            self._start(batch, reason=decision.reason)
        elif decision.until_s is not None:
            self.heap.at(decision.until_s, self._decide, self._decisions)

    def _view(self) -> Queue:
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
            costs=self._costs,
            think_times=self._think_times,
        )

    def _start(self, batch: list[Visit], *, reason: str) -> None:
        now, ended_s = self.heap.now, self._returning.ended_s
        idle_s = inf if ended_s is None else now - ended_s
        if ended_s is not None and batch[0].arrived_s <= ended_s + self._turn_s:
            idle_s = 0.0
        drawn = self.times.draw(self._moment(len(batch), idle_s), self.rng)
        for visit in batch:
            queue_s = now + drawn.dispatch_s - visit.arrived_s
            visit.reported = {"queue_s": queue_s, "batch_size": len(batch), "close_reason": reason}
        self._running, self._is_busy = batch, True
        self._work = Work(len(batch), sum(drawn.stages_s), partial(self._end, drawn, idle_s, now))
        self.heap.at(now + drawn.dispatch_s, self._compute, self._work)

    def _compute(self, work: Work) -> None:
        if work is self._work:
            self.machine.start(work)

    def _moment(self, size: int, idle_s: float) -> Moment:
        return Moment(size, self.machine.computing, idle_s, self.machine.held - size)

    def _end(self, drawn: Drawn, idle_s: float, closed_s: float) -> None:
        now, batch = self.heap.now, self._running
        alone_s, took_s = sum(drawn.stages_s), now - closed_s - drawn.dispatch_s
        stages_s = [stage * took_s / alone_s if alone_s else 0.0 for stage in drawn.stages_s]
        networks_s = self.times.networks_s(self._moment(len(batch), idle_s), self.rng)
        self._running, self._work, self._turn_s = [], None, drawn.turnaround_s
        self._returning.ended(now, len(batch))
        self._think_times.ended(now, len(batch))
        self._costs.ran(len(batch), now - closed_s)
        self._last_batch = len(batch)
        self._rate_rps = smoothed(self._rate_rps, len(batch) / max(now - closed_s, 1e-6))
        for visit, network_s in zip(batch, networks_s, strict=True):
            visit.network_s = network_s
            visit.reported |= zip(STAGES, stages_s, strict=True)
            self._leave(visit, "ok")
        self.heap.at(now + self._turn_s, self._free)

    def _leave(self, visit: Visit, status: str) -> None:
        self.machine.held -= 1
        visit.over(visit, status)

    def _free(self) -> None:
        self._is_busy = False
        self._decide(self._decisions)
