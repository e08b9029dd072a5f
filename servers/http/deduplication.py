"""One answer for each request id: a request that is sent again gets the answer of the first one.

A client or a balancer that does not know whether its request arrived may send it again with the same id. While the
first request runs, the second waits for its answer; for some seconds after that, it gets the same answer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Generic, TypeVar

from servers.telemetry import metrics

T = TypeVar("T")
_ENTRY_BYTES = 1024  # key, request id and the objects round an answer, measured by tracemalloc
_LEAST_WAIT_S = 0.1  # between two runs of the timer


def of_request(request_id: str, body: bytes) -> Hashable:
    """The key of a request: its id and its body, since a client may use one id for two questions by mistake."""
    return request_id, blake2b(body, digest_size=16).digest()


@dataclass(slots=True)
class _Entry(Generic[T]):
    answer: T | None = None
    size: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Duplicates(Generic[T]):
    """Keeps answers for `keep_s` and up to `most_bytes` in all; no failures, and no answer that `keep` rejects.

    `size` gives the bytes of an answer; `_ENTRY_BYTES` are added to it.
    """

    def __init__(
        self,
        *,
        size: Callable[[T], int],
        keep: Callable[[T], bool] = lambda answer: True,
        keep_s: float = 10.0,
        most_bytes: int = 32 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size = size
        self._keep = keep
        self._keep_s = keep_s
        self._most_bytes = most_bytes
        self._clock = clock
        self._bytes = 0
        self._known: dict[Hashable, _Entry[T]] = {}
        self._answered: deque[tuple[float, Hashable]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._answered)

    async def once(self, key: Hashable, answer: Callable[[], Awaitable[T]]) -> T:
        """The answer to `key`: computed, or that of an earlier caller. Raises what `answer` raises.

        If the first caller is cancelled or fails, the next one computes the answer.
        """
        self._forget()
        while (known := self._known.get(key)) is not None:
            if known.answer is not None:
                metrics.DUPLICATES.inc()
                return known.answer
            await known.ended.wait()
        entry = self._known[key] = _Entry()
        try:
            computed = await answer()
            entry.answer = computed if self._keep(computed) else None
        finally:
            if entry.answer is None:
                del self._known[key]
            else:
                self._remember(key, entry, entry.answer)
            entry.ended.set()
        return computed

    def _remember(self, key: Hashable, entry: _Entry[T], answer: T) -> None:
        entry.size = _ENTRY_BYTES + self._size(answer)
        self._bytes += entry.size
        self._answered.append((self._clock(), key))
        self._forget()
        if self._answered and self._timer is None:
            self._wait()

    def _forget(self) -> None:
        """Drop what is too old, and then the oldest until the rest fits."""
        too_old_s = self._clock() - self._keep_s
        while self._answered and (self._bytes > self._most_bytes or self._answered[0][0] <= too_old_s):
            self._bytes -= self._known.pop(self._answered.popleft()[1]).size

    def _wait(self) -> None:
        """Run again when the oldest is too old: memory is freed even without further requests."""
        left_s = self._answered[0][0] + self._keep_s - self._clock()
        self._timer = asyncio.get_running_loop().call_later(max(_LEAST_WAIT_S, left_s), self._look)

    def _look(self) -> None:
        self._timer = None
        self._forget()
        if self._answered:
            self._wait()
