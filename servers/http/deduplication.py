"""One response for each request id: a request that is sent again gets the response to the first one.

A client or a balancer that does not know whether its request arrived may send it again with the same id. While the
first request runs, the second waits for its response; for some seconds after that, it gets the same response.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from hashlib import blake2b

from servers.http.exchange import Reply
from servers.telemetry import metrics

_ENTRY_BYTES = 1024  # key, request id and the objects round a response, measured by tracemalloc
_LEAST_WAIT_S = 0.1  # between two runs of the timer


def of_request(request_id: str, body: bytes) -> Hashable:
    """The key of a request: its id and its body, since a client may use one id for two questions by mistake."""
    return request_id, blake2b(body, digest_size=16).digest()


class Duplicates:
    """Keeps responses for `keep_s` and up to `most_bytes` in all; no failures, and none that is sent in parts."""

    def __init__(self, *, keep_s: float = 10.0, most_bytes: int = 32 << 20) -> None:
        self._keep_s = keep_s
        self._most_bytes = most_bytes
        self._bytes = 0
        self._running: dict[Hashable, asyncio.Event | None] = {}  # set at the end; made by the first who waits for it
        self._kept: dict[Hashable, Reply] = {}
        self._ended: deque[tuple[float, Hashable]] = deque()  # the keys of kept responses, oldest first
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._kept)

    async def once(self, key: Hashable, respond: Callable[[], Awaitable[Reply]]) -> Reply:
        """The response to `key`: computed, or that of an earlier caller. Raises what `respond` raises.

        If the first caller is cancelled or fails, the next one computes the response.
        """
        self._forget()
        while key in self._running:
            if (ended := self._running[key]) is None:
                ended = self._running[key] = asyncio.Event()
            await ended.wait()
        if (kept := self._kept.get(key)) is not None:
            metrics.DUPLICATES.inc()
            return kept
        self._running[key] = None
        try:
            response = await respond()
        finally:
            if (ended := self._running.pop(key)) is not None:
                ended.set()
        if response.status == 200 and response.parts is None:
            self._keep(key, response)
        return response

    def _keep(self, key: Hashable, response: Reply) -> None:
        self._kept[key] = response
        self._bytes += _size(response)
        self._ended.append((asyncio.get_running_loop().time(), key))
        if self._timer is None:
            self._wait()
        self._forget()

    def _forget(self) -> None:
        """Drop what is too old, and then the oldest until the rest fits."""
        too_old_s = asyncio.get_running_loop().time() - self._keep_s
        while self._ended and (self._bytes > self._most_bytes or self._ended[0][0] <= too_old_s):
            self._bytes -= _size(self._kept.pop(self._ended.popleft()[1]))

    def _wait(self) -> None:
        """Forget, and again when the oldest is too old: memory is freed even without further requests."""
        self._timer = None
        self._forget()
        if self._ended:
            loop = asyncio.get_running_loop()
            due_s = max(self._ended[0][0] + self._keep_s, loop.time() + _LEAST_WAIT_S)
            self._timer = loop.call_at(due_s, self._wait)


def _size(response: Reply) -> int:
    return _ENTRY_BYTES + len(response.body) + sum(len(name) + len(value) for name, value in response.headers)
