"""The baseline's lock: one run at a time, also when somebody gives up in the middle of one."""

import asyncio
import json
from typing import Any

import pytest

from servers.backend.job import Job
from servers.baseline import Baseline
from servers.http.wire import Question
from servers.rag.pipeline import Answered
from servers.settings import Settings
from tests import virtual
from tests.servers.jobs import submitting


class Slow:
    """Stands for the pipeline: a second of virtual time a run, which goes on even if nobody waits for it."""

    def __init__(self) -> None:
        self.running = 0

    def check(self, question: Question) -> Question:
        return question

    model_name = "slow"

    def submit(self, asks: list[Question]) -> list[Job[Any]]:
        return submitting(self._run, goes_on=True)(asks)

    async def _run(self, asks: list[Question]) -> list[Answered]:
        self.running += 1
        assert self.running == 1, "two runs at once"
        await asyncio.sleep(1.0)
        self.running -= 1
        return [Answered(ask.query, "", (), 1, 1, {}) for ask in asks]

    def work(self, question: Question) -> int:
        return question.k - 1


def stand_in(monkeypatch: pytest.MonkeyPatch, pipeline: Slow) -> Baseline:
    """A baseline with that pipeline, in virtual time."""
    design = Baseline(Settings())
    for name in ("check", "submit", "work"):
        monkeypatch.setattr(design, name, getattr(pipeline, name))
    monkeypatch.setattr(Baseline, "model_name", pipeline.model_name)
    monkeypatch.setattr("servers.baseline.time.monotonic", virtual.now)
    return design


async def answer(design: Baseline, query: str) -> tuple[str, float]:
    served = await design.answer(Question(query=query), 60.0)
    return json.loads(served.body)["query"], served.stage_s["queue"]


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_run_that_raises_releases_the_turn(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    class Failing(Slow):
        def submit(self, asks: list[Question]) -> list[Job[Any]]:
            if asks[0].query == "first" and when == "at once":
                raise ValueError("cannot be sent")
            return super().submit(asks)

        async def _run(self, asks: list[Question]) -> list[Answered]:
            if asks[0].query == "first":
                raise ValueError("fails")
            return await super()._run(asks)

    async def scenario() -> Any:
        design = stand_in(monkeypatch, Failing())
        with pytest.raises(ValueError, match=r"cannot be sent|fails"):
            await answer(design, "first")
        return await answer(design, "second")

    assert virtual.run(scenario()) == ("second", 0.0)


def test_what_a_newcomer_would_wait_is_predicted_from_what_runs_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> list[float | None]:
        design = stand_in(monkeypatch, Slow())
        await answer(design, "taught")
        seen = [design._predicted_s()]
        asked = [asyncio.create_task(answer(design, name)) for name in ("runs", "waits")]
        await asyncio.sleep(0.5)
        seen.append(design._predicted_s())
        await asyncio.gather(*asked)
        return [*seen, design._predicted_s()]

    assert virtual.run(scenario()) == pytest.approx([1.0, 3.0, 1.0])


def test_who_gives_up_leaves_the_lock_to_the_run_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> Any:
        design = stand_in(monkeypatch, Slow())
        first = asyncio.create_task(answer(design, "first"))
        await asyncio.sleep(0.25)
        second = asyncio.create_task(answer(design, "second"))
        await asyncio.sleep(0.25)
        first.cancel()
        return await second

    assert virtual.run(scenario()) == ("second", 0.75)
