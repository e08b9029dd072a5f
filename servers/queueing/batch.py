"""Values of the batcher: a waiting request, a running batch, a result."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from servers.backend.job import Job
from servers.errors import RequestError, Unavailable

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """A request's result, with facts about its batch."""

    result: R
    queue_s: float
    batch_size: int
    close_reason: str


@dataclass(slots=True, eq=False)
class Item(Generic[T, R]):
    """A request, and the `job` of its run.

    `work`: its size in usual requests; `passed_over_s`: when it was left out in its turn.
    """

    request: T
    arrived_s: float
    deadline_s: float
    work: int = 1
    tokens: int | None = None
    passed_over_s: float | None = None
    job: Job[R] | None = None
    done: asyncio.Future[Done[R]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(slots=True, eq=False)
class Batch(Generic[T, R]):
    """Requests that run together. `size`: the batch size in their answers; `work`: their size in usual requests."""

    items: list[Item[T, R]]
    reason: str
    size: int
    taken_s: float
    work: int = field(init=False)

    def __post_init__(self) -> None:
        self.work = sum(item.work for item in self.items)


def fail(items: Iterable[Item[Any, Any]], error: BaseException) -> None:
    """Fail the requests that are not answered yet."""
    for item in items:
        if not item.done.done():
            item.done.set_exception(error)


def is_its_own(error: Exception) -> bool:
    """Whether a failure concerns one request, and not the engine."""
    return isinstance(error, RequestError) and not isinstance(error, Unavailable)
