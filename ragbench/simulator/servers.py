"""A server in virtual time: a bounded queue, a batch policy, one pipeline. What `servers/batcher.py` does.

The baseline is the same with batches of one and no bound.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from policies.admission import Admission, Refused, smoothed
from policies.batching import BatchPolicy, Close, Queue
from policies.returning import Returning
from ragbench.simulator.heap import Heap
from ragbench.simulator.service_times import REST_S, Drawn, ServiceTimes


@dataclass(slots=True)
class Visit:
    """A request at a server. `over` is called once, with how it ended."""

    deadline_s: float
    over: Callable[["Visit", str], None]
    arrived_s: float = 0.0
    started_s: float = 0.0
    batch_size: int = 0
    network_s: float = 0.0
    drawn: Drawn | None = None
    replica: str | None = None


class Server:
    """One pipeline with its queue. `busy[0]` counts the pipelines that compute now, of all that share the machine."""

    def __init__(
        self,
        heap: Heap,
        times: ServiceTimes,
        *,
        policy: BatchPolicy,
        admission: Admission | None,
        rng: Random,
        busy: list[int],
    ) -> None:
        self._heap = heap
        self._times = times
        self._policy = policy
        self._admission = admission
        self._rng = rng
        self._busy = busy
        self._queue: deque[Visit] = deque()
        self._running: list[Visit] = []
        self._last_batch: int | None = None
        self._rate_rps: float | None = None
        self._returning = Returning()
        self._epoch = 0
        self._is_held = False  # a batch has ended and its answers are on their way: the next cannot start yet
        self.is_dead = False

    def submit(self, visit: Visit) -> None:
        """Take a request in, or refuse it."""
        visit.arrived_s = self._heap.now
        if self.is_dead:
            visit.over(visit, "connection_error")
            return
        if self._admission is not None:
            verdict = self._admission.decide(len(self._queue), self._predicted_s())
            if isinstance(verdict, Refused):
                visit.over(visit, "rejected")
                return
        self._queue.append(visit)
        self._returning.arrived(self._heap.now)
        if not self._running and not self._is_held:
            self._decide()

    def die(self) -> None:
        """Lose everything that is here."""
        self.is_dead = True
        lost, self._queue = [*self._running, *self._queue], deque()
        if self._running:
            self._busy[0] -= 1
            self._running = []
        for visit in lost:
            visit.over(visit, "connection_error")

    def _predicted_s(self) -> float | None:
        return len(self._queue) / self._rate_rps if self._rate_rps else None

    def _decide(self) -> None:
        now = self._heap.now
        while self._queue and self._queue[0].deadline_s <= now:
            late = self._queue.popleft()
            late.over(late, "timeout")
        decision = self._policy.decide(self._view(), now)
        self._epoch += 1
        if isinstance(decision, Close):
            self._start([self._queue.popleft() for _ in range(min(decision.count, len(self._queue)))])
        elif decision.until_s is not None:
            self._heap.at(decision.until_s, self._ask_again, self._epoch)

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

    def _start(self, batch: list[Visit]) -> None:
        now, ended_s = self._heap.now, self._returning.ended_s
        is_rested = ended_s is None or now - ended_s > REST_S
        drawn = self._times.draw(len(batch), others=self._busy[0], is_rested=is_rested, rng=self._rng)
        self._busy[0] += 1
        self._running = batch
        start_s = now + drawn.dispatch_s
        for visit, network_s in zip(batch, drawn.network_s, strict=True):
            visit.started_s, visit.batch_size, visit.drawn, visit.network_s = start_s, len(batch), drawn, network_s
        self._heap.at(start_s + sum(drawn.stages_s), self._end, batch, now)

    def _end(self, batch: list[Visit], closed_s: float) -> None:
        if self.is_dead:
            return
        self._running = []
        self._is_held = True
        self._busy[0] -= 1
        self._returning.ended(self._heap.now, len(batch))
        self._last_batch = len(batch)
        self._rate_rps = smoothed(self._rate_rps, len(batch) / max(self._heap.now - closed_s, 1e-6))
        for visit in batch:
            visit.over(visit, "ok")
        drawn = batch[0].drawn
        self._heap.at(self._heap.now + (drawn.turnaround_s if drawn else 0.0), self._free)

    def _free(self) -> None:
        self._is_held = False
        if not self.is_dead:
            self._decide()
