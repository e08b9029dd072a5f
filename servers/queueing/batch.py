"""Requests on their way through a batcher: one that waits, a batch that runs, what comes of each."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from servers.errors import RequestError, Unavailable

__all__ = ["Batch", "Done", "Item", "fail", "is_its_own"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """One request's result, and what its batch was like."""

    result: R
    queue_s: float
    batch_size: int
    close_reason: str


@dataclass(slots=True, eq=False)
class Item(Generic[T, R]):
    """A request: how many usual ones it stands for, how long it is, and since when others were taken before it."""

    request: T
    arrived_s: float
    deadline_s: float
    work: int = 1
    tokens: int | None = None
    passed_over_s: float | None = None
    done: asyncio.Future[Done[R]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(slots=True, eq=False)
class Batch(Generic[T, R]):
    """Requests that run together, as `size` is told to each of them."""

    items: list[Item[T, R]]
    reason: str
    size: int
    taken_s: float

    @property
    def work(self) -> int:
        """How many usual requests it stands for."""
        return sum(item.work for item in self.items)


def fail(items: Iterable[Item[Any, Any]], error: BaseException) -> None:
    """Answer those who still wait with an error."""
    for item in items:
        if not item.done.done():
            item.done.set_exception(error)


def is_its_own(error: Exception) -> bool:
    """Whether it is the failure of one request, and not of the engine."""
    return isinstance(error, RequestError) and not isinstance(error, Unavailable)
