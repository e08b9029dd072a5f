"""A request in an engine, as the server's event loop sees it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

from servers.backend import Chunk, Done

R = TypeVar("R")


class Job(Generic[R]):
    """`outcome`, once it `has_ended`: the result, the error, or None if it was cancelled.

    A batch of jobs is told of by `when_ended`, without a future each; `done` is made when it is asked for.
    """

    __slots__ = ("_cancel", "_chunks", "_done", "_ended", "has_ended", "number", "outcome")

    def __init__(self, number: int, cancel: Callable[[int], None], *, stream: bool = False) -> None:
        self.number = number
        self.has_ended = False
        self.outcome: R | Exception | None = None
        self._cancel = cancel
        self._chunks: asyncio.Queue[Chunk | None] | None = asyncio.Queue() if stream else None
        self._done: asyncio.Future[R] | None = None
        self._ended: Callable[[], None] | None = None

    @property
    def done(self) -> "asyncio.Future[R]":
        """The result; raises the error, or CancelledError."""
        if self._done is None:
            self._done = asyncio.get_running_loop().create_future()
            if self.has_ended:
                self._settle(self._done)
        return self._done

    def when_ended(self, call: Callable[[], None]) -> None:
        """Have `call` called at the end, or at once if the job has ended."""
        if self.has_ended:
            call()
        else:
            self._ended = call

    def cancel(self) -> None:
        """Have the engine end the job when it can."""
        if not self.has_ended:
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
        """End the job with a result, with an error, or, for None, as cancelled. Another end is ignored."""
        if self._chunks is not None:
            self._chunks.put_nowait(None)
        if self.has_ended:
            return
        self.has_ended, self.outcome = True, outcome
        if self._done is not None and not self._done.done():
            self._settle(self._done)
        if self._ended is not None:
            self._ended()

    def _settle(self, done: "asyncio.Future[R]") -> None:
        if self.outcome is None:
            done.cancel()
        elif isinstance(self.outcome, Exception):
            done.set_exception(self.outcome)
            done.exception()  # retrieved, in case nobody awaits it
        else:
            done.set_result(self.outcome)
