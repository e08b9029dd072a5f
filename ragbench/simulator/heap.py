"""Virtual time: callbacks in the order of their moments. Knows no server."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any


class Heap:
    """`now` is the moment of the callback that runs; nothing happens between callbacks."""

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
