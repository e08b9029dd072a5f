"""Jobs of an engine that runs a batch as one coroutine."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from servers.backend.job import Job

T = TypeVar("T")
cancelled: list[int] = []
"""Places in their batches of the jobs that were cancelled, in order; to be cleared by a test that looks at it."""


def submitting(
    run: Callable[[list[T]], Awaitable[Sequence[Any]]], *, goes_on: bool = False
) -> Callable[[list[T]], list[Job[Any]]]:
    """`run` returns a result or an exception for each request; cancelled when all of its jobs are, or it `goes_on`."""

    def submit(requests: list[T]) -> list[Job[Any]]:
        running = asyncio.ensure_future(run(requests))
        left: set[int] = set()

        def cancel(place: int) -> None:
            cancelled.append(place)
            left.add(place)
            if len(left) == len(requests) and not goes_on:
                running.cancel()

        jobs: list[Job[Any]] = [Job(place, cancel) for place in range(len(requests))]

        def ended(done: asyncio.Future[Sequence[Any]]) -> None:
            error = None if done.cancelled() else done.exception()
            for place, job in enumerate(jobs):
                if done.cancelled() or place in left:
                    job.end(None)
                else:
                    job.end(done.result()[place] if error is None else error)

        running.add_done_callback(ended)
        return jobs

    return submit
