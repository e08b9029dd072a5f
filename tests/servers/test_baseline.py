"""The baseline's lock: one run at a time, also when somebody gives up in the middle of one."""

import asyncio
from typing import Any

import pytest

from servers.baseline import Baseline
from servers.http.wire import Question
from servers.settings import Settings
from tests import virtual


class Slow:
    """Stands for the pipeline: a second of virtual time a run, which goes on even if nobody waits for it."""

    def __init__(self) -> None:
        self.running = 0
        self.dropped: list[int] = []

    def check(self, question: Question) -> Question:
        return question

    def run(self, asks: list[Question]) -> asyncio.Future[list[Question]]:
        return asyncio.ensure_future(self._run(asks))

    async def _run(self, asks: list[Question]) -> list[Question]:
        self.running += 1
        assert self.running == 1, "two runs at once"
        await asyncio.sleep(1.0)
        self.running -= 1
        return asks

    def work(self, question: Question) -> int:
        return question.k - 1

    def drop(self, run: asyncio.Future[list[Question]], place: int) -> None:
        self.dropped.append(place)

    def served(self, answered: Question, *, queue_s: float, batch_size: int) -> tuple[str, float]:
        return answered.query, queue_s


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_run_that_raises_releases_the_turn(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    class Failing(Slow):
        def run(self, asks: list[Question]) -> asyncio.Future[list[Question]]:
            if asks[0].query == "first" and when == "at once":
                raise ValueError("cannot be sent")
            return super().run(asks)

        async def _run(self, asks: list[Question]) -> list[Question]:
            if asks[0].query == "first":
                raise ValueError("fails")
            return await super()._run(asks)

    async def scenario() -> Any:
        design = Baseline(Settings())
        monkeypatch.setattr(design, "_rag", Failing())
        monkeypatch.setattr("servers.baseline.time.monotonic", virtual.now)
        with pytest.raises(ValueError, match=r"cannot be sent|fails"):
            await design.answer(Question(query="first"), 60.0)
        return await design.answer(Question(query="second"), 60.0)

    assert virtual.run(scenario()) == ("second", 0.0)


def test_who_gives_up_leaves_the_lock_to_the_run_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> Any:
        design = Baseline(Settings())
        monkeypatch.setattr(design, "_rag", Slow())
        monkeypatch.setattr("servers.baseline.time.monotonic", virtual.now)
        first = asyncio.create_task(design.answer(Question(query="first"), 60.0))
        await asyncio.sleep(0.25)
        second = asyncio.create_task(design.answer(Question(query="second"), 60.0))
        await asyncio.sleep(0.25)
        first.cancel()
        return await second

    assert virtual.run(scenario()) == ("second", 0.75)
