"""Virtual time, and what the servers of one machine share in it: its processors. Knows no queue and no batch policy."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Heap:
    """Callbacks in the order of their moments. `now` is that of the one that runs; nothing happens between them."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def at(self, moment: float, act: Callable[..., None], *args: Any) -> None:
        """Call `act(*args)` then, or now where that has passed; equal moments in the order they were asked for."""
        heapq.heappush(self._events, (max(moment, self.now), next(self._numbers), act, args))

    def run(self, until: Callable[[], bool]) -> None:
        """Until `until()` holds or nothing is left."""
        while self._events and not until():
            self.now, _, act, args = heapq.heappop(self._events)
            act(*args)


@dataclass(slots=True, eq=False)
class Work:
    """A batch that computes: `left_s` is how long it would still take alone; `over` is called at its end."""

    size: int
    left_s: float
    over: Callable[[], None]


@dataclass(slots=True, eq=False)
class Machine:
    """Batches that compute side by side slow each other down for as long as they do.

    `slowdown(size, others)`: how much longer a batch takes while so many others compute. `held`: requests that are with
    the servers of this machine.
    """

    heap: Heap
    slowdown: Callable[[int, int], float]
    held: int = 0
    _running: list[Work] = field(default_factory=list)
    _changed_s: float = 0.0
    _changes: int = 0

    @property
    def computing(self) -> int:
        """How many batches compute now."""
        return len(self._running)

    def start(self, work: Work) -> None:
        """Compute it from now on."""
        self._change([*self._running, work])

    def stop(self, work: Work) -> None:
        """Give it up; nothing where it is over."""
        if work in self._running:
            self._change([other for other in self._running if other is not work])

    def _change(self, running: list[Work]) -> None:
        """Count what was done until now, and plan the next end."""
        now, others = self.heap.now, len(self._running) - 1
        for work in self._running:
            work.left_s = max(0.0, work.left_s - (now - self._changed_s) / self.slowdown(work.size, others))
        self._running, self._changed_s, self._changes = running, now, self._changes + 1
        if running:
            lasts_s = [work.left_s * self.slowdown(work.size, len(running) - 1) for work in running]
            self.heap.at(now + min(lasts_s), self._end, running[lasts_s.index(min(lasts_s))], self._changes)

    def _end(self, work: Work, change: int) -> None:
        if change == self._changes:
            self.stop(work)
            work.over()
