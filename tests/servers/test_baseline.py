"""The baseline runs one question at a time, also when somebody gives up in the middle of a run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from servers import baseline, batched
from servers.backend.job import Job
from servers.batched import Batched
from servers.errors import QueueFull
from servers.http.wire import Question
from servers.queueing.batcher import Batcher
from servers.rag.pipeline import Answered
from servers.settings import Settings
from servers.tasks import Background
from tests import virtual
from tests.servers.jobs import submitting


class Slow:
    """Stands for the pipeline: a second of virtual time a run, which goes on even if nobody waits for it."""

    is_continuous = False
    model_name = "slow"

    def __init__(self, settings: Settings) -> None:
        self.running = 0

    async def start(self, background: Background, *, batch_sizes: list[int]) -> None:
        assert batch_sizes == [1]

    def check(self, question: Question) -> Question:
        return question

    def submit(self, asks: list[Question]) -> list[Job[Any]]:
        return submitting(self._run, goes_on=True)(asks)

    async def _run(self, asks: list[Question]) -> list[Answered]:
        self.running += len(asks)
        assert self.running == 1, "two runs at once"
        await asyncio.sleep(1.0)
        self.running -= 1
        if asks[0].query == "fails":
            raise ValueError("fails")
        return [Answered(ask.query, "", (), 1, 1, {}) for ask in asks]

    def work(self, question: Question) -> int:
        return question.k - 1

    tokens = work


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "RagService", Slow)
    monkeypatch.setattr(batched, "Batcher", partial(Batcher, clock=virtual.now))


@asynccontextmanager
async def design(**settings: Any) -> AsyncIterator[Batched]:
    made = baseline.create(Settings(**settings))
    async with Background() as background:
        await made.start(background)
        yield made


async def answer(design: Batched, query: str) -> tuple[str, float]:
    served = await design.answer(Question(query=query), 60.0)
    assert served.batch_size == 1
    return served.answer.query, round(served.stage_s["queue"], 6)


def test_questions_run_one_by_one_in_order() -> None:
    async def scenario() -> Any:
        async with design() as made:
            return await asyncio.gather(*(answer(made, query) for query in "abc"))

    assert virtual.run(scenario()) == [("a", 0.0), ("b", 1.0), ("c", 2.0)]


def test_after_a_run_that_fails_comes_the_next_one() -> None:
    async def scenario() -> Any:
        async with design() as made:
            with pytest.raises(ValueError, match="fails"):
                await answer(made, "fails")
            return await answer(made, "second")

    assert virtual.run(scenario()) == ("second", 0.0)


def test_who_gives_up_leaves_the_next_one_waiting_for_the_run_that_goes_on() -> None:
    async def scenario() -> Any:
        async with design() as made:
            first = asyncio.create_task(answer(made, "first"))
            await asyncio.sleep(0.25)
            second = asyncio.create_task(answer(made, "second"))
            await asyncio.sleep(0.25)
            first.cancel()
            return await second

    assert virtual.run(scenario()) == ("second", 0.75)


def test_a_full_queue_refuses() -> None:
    async def scenario() -> None:
        async with design(max_queue=1) as made:
            first = asyncio.create_task(answer(made, "first"))
            await asyncio.sleep(0.25)
            second = asyncio.create_task(answer(made, "second"))
            await asyncio.sleep(0.25)
            with pytest.raises(QueueFull, match="queue full"):
                await answer(made, "third")
            await asyncio.gather(first, second)

    virtual.run(scenario())
