"""The line of one process."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import count, islice
from typing import Generic, TypeVar

from servers.queueing import Waiter

W = TypeVar("W", bound=Waiter)


class LocalLine(Generic[W]):
    """In memory: its requests are lost with the process."""

    def __init__(self) -> None:
        self.work = 0
        self._waiters: OrderedDict[W, None] = OrderedDict()
        self._deadlines: list[tuple[float, int, W]] = []  # a heap; removed requests are dropped from it later
        self._numbers = count()
        self._is_stirred = False
        self._waiting: asyncio.Future[bool] | None = None

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

    def leave(self, waiter: W) -> bool:
        """Remove a request from any place."""
        if not self._remove(waiter):
            return False
        self.stir()
        return True

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for a change, by one future and at most one timer."""
        loop = asyncio.get_running_loop()
        self._waiting = waiting = loop.create_future()
        timer = None
        if self._is_stirred:
            waiting.set_result(True)
        elif timeout_s is not None:
            timer = loop.call_later(timeout_s, _settle, waiting, False)
        try:
            return await waiting
        finally:
            self._is_stirred, self._waiting = False, None
            if timer is not None:
                timer.cancel()

    def stir(self) -> None:
        """Wake whoever waits, or the next one to wait."""
        self._is_stirred = True
        if self._waiting is not None:
            _settle(self._waiting, True)

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


def _settle(waiting: "asyncio.Future[bool]", outcome: bool) -> None:
    if not waiting.done():
        waiting.set_result(outcome)
