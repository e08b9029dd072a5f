"""One answer for each request id: a request that is sent again gets the answer of the first one.

A client or a balancer that does not know whether its request arrived may send it again with the same id. While the
first request runs, the second waits for its answer; for some seconds after that, it gets the same answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from hashlib import blake2b
from typing import Generic, NamedTuple, TypeVar

from servers.telemetry import metrics

T = TypeVar("T")
_ENTRY_BYTES = 1024  # key, request id, timer and the objects round an answer


def of_request(request_id: str, body: bytes) -> Hashable:
    """The key of a request: its id and its body, since a client may use one id for two questions by mistake."""
    return request_id, blake2b(body, digest_size=16).digest()


class _Kept(NamedTuple, Generic[T]):
    answer: T
    size: int
    end: asyncio.TimerHandle


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
    ) -> None:
        self._size = size
        self._keep = keep
        self._keep_s = keep_s
        self._most_bytes = most_bytes
        self._bytes = 0
        self._running: dict[Hashable, asyncio.Event] = {}
        self._answered: dict[Hashable, _Kept[T]] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._answered)

    async def once(self, key: Hashable, answer: Callable[[], Awaitable[T]]) -> T:
        """The answer to `key`: computed, or that of an earlier caller. Raises what `answer` raises.

        If the first caller is cancelled or fails, the next one computes the answer.
        """
        while (running := self._running.get(key)) is not None:
            await running.wait()
        if (kept := self._answered.get(key)) is not None:
            metrics.DUPLICATES.inc()
            return kept.answer
        ended = self._running[key] = asyncio.Event()
        try:
            computed = await answer()
        finally:
            del self._running[key]
            ended.set()
        if self._keep(computed):
            self._remember(key, computed)
        return computed

    def _remember(self, key: Hashable, answer: T) -> None:
        """Keep an answer, and drop the oldest until the rest fits."""
        end = asyncio.get_running_loop().call_later(self._keep_s, self._forget, key)
        self._answered[key] = _Kept(answer, _ENTRY_BYTES + self._size(answer), end)
        self._bytes += self._answered[key].size
        while self._bytes > self._most_bytes:
            self._forget(next(iter(self._answered)))

    def _forget(self, key: Hashable) -> None:
        kept = self._answered.pop(key)
        kept.end.cancel()
        self._bytes -= kept.size
