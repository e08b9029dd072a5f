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

from servers import metrics

__all__ = ["Duplicates", "of_request"]

T = TypeVar("T")


def of_request(request_id: str, body: bytes) -> Hashable:
    """The key of a request: its id, and what it asks, since one id for two questions is some client's mistake."""
    return request_id, blake2b(body, digest_size=16).digest()


@dataclass(slots=True)
class _Entry(Generic[T]):
    answer: T | None = None
    waiting: list[asyncio.Future[None]] = field(default_factory=list)


class Duplicates(Generic[T]):
    """Remembers answers for `keep_s`, at most `most` of them; failures, and what `keep` is false of, are forgotten."""

    def __init__(
        self,
        *,
        keep: Callable[[T], bool] = lambda answer: True,
        keep_s: float = 10.0,
        most: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keep = keep
        self._keep_s = keep_s
        self._most = most
        self._clock = clock
        self._known: dict[Hashable, _Entry[T]] = {}
        self._answered: deque[tuple[float, Hashable]] = deque()

    async def once(self, key: Hashable, answer: Callable[[], Awaitable[T]]) -> T:
        """The answer to `key`: computed, or the one of another caller who came before. Raises what `answer` raises.

        Should the first caller leave or fail, the next one computes for itself.
        """
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
                self._remember(key)
            for over in entry.waiting:
                if not over.done():
                    over.set_result(None)
        return found

    def _remember(self, key: Hashable) -> None:
        now = self._clock()
        self._answered.append((now, key))
        while len(self._answered) > self._most or self._answered[0][0] < now - self._keep_s:
            del self._known[self._answered.popleft()[1]]
