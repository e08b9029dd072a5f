"""Owners of asyncio tasks: of a server's long-lived ones, and of short ones that end with a block.

No other file of this package makes a task outside a TaskGroup, so that no failure goes unnoticed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")


class TaskEnded(RuntimeError):
    """A task that must run as long as the server has ended; the message names it."""


class Background:
    """The tasks that live as long as a server. The end of the `async with` block cancels them and waits for them.

    A task that fails cancels the block, which then raises the task's error. Of several errors, the first is raised and
    the others are logged.
    """

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._first: BaseException | None = None
        self._is_over = False

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        if self._first is None and not isinstance(error, asyncio.CancelledError):
            self._first = error
        for task in tuple(self._tasks):
            task.cancel()
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            first = self._first or group.exceptions[0]
            for other in group.exceptions:
                if other is not first:
                    log.exception("something else failed at the same time", exc_info=other)
            raise first from None

    def keep(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Start a task that must not end before the block: its return is a failure too (TaskEnded)."""
        task = self.start(work, name=name)
        task.add_done_callback(self._must_not_return)
        return task

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start a task that may return before the block ends, but must not fail."""
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if self._first is None and not task.cancelled():
            self._first = task.exception()

    def _must_not_return(self, task: asyncio.Task[None]) -> None:
        if not self._is_over and not task.cancelled() and task.exception() is None:
            self.start(_fail(task.get_name()), name="end")


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`, or None if `event` is set first, which cancels the work."""
    with beside(event.wait()) as waiting:
        working = asyncio.create_task(work)
        try:
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
        finally:
            working.cancel()
            await asyncio.wait({working})
    return None if working.cancelled() else working.result()


async def within(waiting: Awaitable[object], limit_s: float | None) -> bool:
    """Whether it ended in time; None is no limit."""
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            await waiting
    except TimeoutError:
        if not limit.expired():
            raise
        return False
    return True


@contextmanager
def beside(work: Coroutine[Any, Any, T]) -> Iterator[asyncio.Task[T]]:
    """Run a task during the block, and cancel it at the end. Its failure is logged."""
    task = asyncio.create_task(work)
    task.add_done_callback(_report)
    try:
        yield task
    finally:
        task.cancel()


def shared(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that several wait for (by `asyncio.shield`), who get its failure. Who starts it cancels it at the end."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # its waiters may all be gone
    return task


async def _fail(name: str) -> None:
    raise TaskEnded(f"the task {name!r} has ended, and nothing can be answered without it")


def _report(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the task %s failed", task.get_name(), exc_info=error)
