"""Warm up a service until it answers and the backlog of the load before is gone."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

from ragbench.load.client import Client, ServiceError
from ragbench.processes.launch import Service
from ragbench.study.points import Point
from ragbench.study.questions import Question, QuestionSet
from ragbench.study.schedule import Request, warmup_questions

_RETRY_S = 0.2


async def warm_up(client: Client, point: Point, service: Service, questions: QuestionSet) -> str | None:
    """Ask the warm-up questions at once and wait until all are answered: the last point's backlog is then drained.

    A question that is refused or times out is asked again. Returns why the service is not ready, or None.
    """
    load = point.load
    level = point.offered_rps or float(point.concurrency or 1)
    asked = warmup_questions(
        point.arrival, level, n=load.warmup_requests, seed=point.seed, questions=questions.questions
    )
    try:
        await client.check()
    except ServiceError as error:
        return service.failure() or str(error)
    ended: asyncio.Future[Any] = asyncio.ensure_future(service.ended())
    numbers = itertools.count(-1, -1)  # below those of the load, so that no two requests have one name
    answered = [asyncio.ensure_future(_until_answered(client, question, numbers)) for question in asked]
    everything: asyncio.Future[Any] = asyncio.gather(*answered)
    try:
        await asyncio.wait({ended, everything}, timeout=load.ready_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return service.failure() or "the server ended"
        if everything.done():
            return None
        done = f"{sum(task.done() for task in answered)} of {len(asked)} warm-up requests were answered"
        return f"{done} within {load.ready_timeout_s:g} s (ready_timeout_s)"
    finally:
        for task in (ended, everything):
            task.cancel()
        await asyncio.gather(ended, everything, return_exceptions=True)


async def _until_answered(client: Client, question: Question, numbers: Iterator[int]) -> None:
    """Ask until the answer is other than `rejected` or `timeout`."""
    clock = asyncio.get_running_loop().time
    while True:
        row = await client.ask(client.prepare(Request(next(numbers), clock(), question)), clock)
        if row.status not in ("rejected", "timeout"):
            return
        await asyncio.sleep(_RETRY_S)
