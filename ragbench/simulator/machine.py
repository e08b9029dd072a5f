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
    change: int = 0


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
    _since_s: float = 0.0

    @property
    def computing(self) -> int:
        """How many batches compute now."""
        return len(self._running)

    def start(self, work: Work) -> None:
        """Compute it from now on."""
        self._catch_up()
        self._running.append(work)
        self._plan()

    def stop(self, work: Work) -> None:
        """Give it up; nothing where it is over."""
        if work in self._running:
            self._catch_up()
            self._running.remove(work)
            self._plan()

    def _catch_up(self) -> None:
        passed_s, self._since_s = self.heap.now - self._since_s, self.heap.now
        for work in self._running:
            work.left_s = max(0.0, work.left_s - passed_s / self._slow(work))

    def _plan(self) -> None:
        """Every change of company moves every end."""
        for work in self._running:
            work.change += 1
            self.heap.at(self.heap.now + work.left_s * self._slow(work), self._over, work, work.change)

    def _slow(self, work: Work) -> float:
        return self.slowdown(work.size, len(self._running) - 1)

    def _over(self, work: Work, change: int) -> None:
        if work.change == change and work in self._running:
            self.stop(work)
            work.over()
