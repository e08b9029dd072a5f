"""A request in an engine, as the server's event loop sees it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

from servers.backend import Chunk, Done

R = TypeVar("R")


class Job(Generic[R]):
    """`done` is the result, or raises why there is none, once the engine has ended the job."""

    def __init__(self, number: int, cancel: Callable[[int], None], *, stream: bool = False) -> None:
        self.number = number
        self.done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._cancel = cancel
        self._chunks: asyncio.Queue[Chunk | None] | None = asyncio.Queue() if stream else None

    def cancel(self) -> None:
        """Have the engine end the job when it can, which cancels `done`."""
        if not self.done.done():
            self._cancel(self.number)

    async def events(self) -> AsyncIterator[Chunk | Done[R]]:
        """Chunks, of a job that streams, and then Done. Raises what `done` raises.

        Closing the iterator before its end cancels the job.
        """
        try:
            if self._chunks is not None:
                while (chunk := await self._chunks.get()) is not None:
                    yield chunk
            yield Done(self.number, await asyncio.shield(self.done))
        finally:
            self.cancel()

    def add(self, chunk: Chunk) -> None:
        """Take a chunk from the engine."""
        if self._chunks is not None:
            self._chunks.put_nowait(chunk)

    def end(self, outcome: R | Exception | None) -> None:
        """End the job with a result, with an error, or, for None, as cancelled."""
        if self._chunks is not None:
            self._chunks.put_nowait(None)
        if self.done.done():
            return
        if outcome is None:
            self.done.cancel()
        elif isinstance(outcome, Exception):
            self.done.set_exception(outcome)
            self.done.exception()  # retrieved, in case nobody awaits it
        else:
            self.done.set_result(outcome)
