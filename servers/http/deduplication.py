"""One answer a request id: who sends the same request again gets the answer of the first. Computes nothing.

A client (or a balancer) that does not know whether its request came through may send it again with the same id: while
the first is under way the second waits with it, and for some seconds after it gets the same answer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Generic, TypeVar

from servers.telemetry import metrics

__all__ = ["Duplicates", "of_request"]

T = TypeVar("T")
_ENTRY_BYTES = 1024  # key, request id and the objects round an answer, as tracemalloc has them
_LEAST_WAIT_S = 0.1  # the timer looks at most so often


def of_request(request_id: str, body: bytes) -> Hashable:
    """The key of a request: its id, and what it asks, since one id for two questions is some client's mistake."""
    return request_id, blake2b(body, digest_size=16).digest()


@dataclass(slots=True)
class _Entry(Generic[T]):
    answer: T | None = None
    size: int = 0
    waiting: list[asyncio.Future[None]] = field(default_factory=list)


class Duplicates(Generic[T]):
    """Remembers answers for `keep_s`, as many as `most_bytes` hold; failures, and what `keep` denies, are forgotten.

    `size` is what an answer takes, in bytes; `_ENTRY_BYTES` are added for what is round it.
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
        """How many answers are remembered."""
        return len(self._answered)

    async def once(self, key: Hashable, answer: Callable[[], Awaitable[T]]) -> T:
        """The answer to `key`: computed, or the one of another caller who came before. Raises what `answer` raises.

        Should the first caller leave or fail, the next one computes for itself.
        """
        self._forget()
        while (known := self._known.get(key)) is not None:
            if known.answer is not None:
                metrics.DUPLICATES.inc()
                return known.answer
            over = asyncio.get_running_loop().create_future()
            known.waiting.append(over)
            await over
        entry = self._known[key] = _Entry()
        try:
            found = await answer()
            entry.answer = found if self._keep(found) else None
        finally:
            if entry.answer is None:
                del self._known[key]
            else:
                self._remember(key, entry, entry.answer)
            for over in entry.waiting:
                if not over.done():
                    over.set_result(None)
        return found

    def _remember(self, key: Hashable, entry: _Entry[T], answer: T) -> None:
        entry.size = _ENTRY_BYTES + self._size(answer)
        self._bytes += entry.size
        self._answered.append((self._clock(), key))
        self._forget()
        if self._answered and self._timer is None:
            self._wait()

    def _forget(self) -> None:
        """What is too old, and then the oldest, until the rest fits."""
        too_old_s = self._clock() - self._keep_s
        while self._answered and (self._bytes > self._most_bytes or self._answered[0][0] <= too_old_s):
            self._bytes -= self._known.pop(self._answered.popleft()[1]).size

    def _wait(self) -> None:
        """Look again when the oldest is too old: it must go even if nobody asks any more."""
        left_s = self._answered[0][0] + self._keep_s - self._clock()
        self._timer = asyncio.get_running_loop().call_later(max(_LEAST_WAIT_S, left_s), self._look)

    def _look(self) -> None:
        self._timer = None
        self._forget()
        if self._answered:
            self._wait()
