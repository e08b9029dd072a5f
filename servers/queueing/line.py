"""The line of one process."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import count, islice
from typing import Generic, TypeVar

from servers.queueing import Waiter
from servers.tasks import within

W = TypeVar("W", bound=Waiter)


class LocalLine(Generic[W]):
    """In memory: its requests are lost with the process."""

    def __init__(self) -> None:
        self.work = 0
        self._waiters: OrderedDict[W, None] = OrderedDict()
        self._deadlines: list[tuple[float, int, W]] = []  # a heap; removed requests are dropped from it later
        self._numbers = count()
        self._stirred = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiters)

    def put(self, waiter: W) -> None:
        """Append a request."""
        self._waiters[waiter] = None
        self.work += waiter.work
        if len(self._deadlines) > 2 * len(self._waiters) + 64:
            self._deadlines = [known for known in self._deadlines if known[2] in self._waiters]
            heapify(self._deadlines)
        heappush(self._deadlines, (waiter.deadline_s, next(self._numbers), waiter))
        self.stir()

    def leave(self, waiter: W) -> bool:
        """Remove a request from any place."""
        if not self._remove(waiter):
            return False
        self.stir()
        return True

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for a change."""
        try:
            return await within(self._stirred.wait(), timeout_s)
        finally:
            self._stirred.clear()

    def stir(self) -> None:
        """Set the event."""
        self._stirred.set()

    def take(self, places: Sequence[int]) -> list[W]:
        """Remove by place."""
        oldest = self.first(max(places, default=-1) + 1)
        taken = [oldest[place] for place in places]
        for waiter in taken:
            self._remove(waiter)
        return taken

    def acknowledge(self, waiters: Sequence[W]) -> None:
        """Do nothing: taken requests are forgotten."""

    def first(self, most: int) -> list[W]:
        """Look at the oldest."""
        return list(islice(self._waiters, most))

    def ends(self) -> tuple[W, W]:
        """Look at both ends."""
        return next(iter(self._waiters)), next(reversed(self._waiters))

    def earliest_deadline_s(self) -> float:
        """Look at the top of the heap."""
        while self._deadlines[0][2] not in self._waiters:
            heappop(self._deadlines)
        return self._deadlines[0][0]

    def _remove(self, waiter: W) -> bool:
        if waiter not in self._waiters:
            return False
        del self._waiters[waiter]
        self.work -= waiter.work
        return True
