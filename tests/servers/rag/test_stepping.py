"""Questions that come and go one by one, and one of them fails: alone, at whichever step it does."""

from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any
from weakref import ref

import pytest

from servers.engine import isolation
from servers.engine.isolation import EngineUnfit
from servers.engine.loop import Inbox, work
from servers.rag.failed import Failed
from servers.rag.generation import Generated, Piece
from servers.rag.pipeline import Answered, Ask, Found
from servers.rag.steps import UNREPORTED, Steps

FAILED = Failed("internal", "internal error")


class Activations:
    """What a step has in memory."""


class Words:
    """A generator of one word a step; the word `bad` raises, in whichever step it comes."""

    joins = True
    reading = 0

    def __init__(self) -> None:
        self.running: dict[int, list[str]] = {}
        self.numbers = iter(range(1000))
        self.held: list[ref[Activations]] = []

    def submit(self, prompts: Sequence[str], limits: Sequence[int]) -> list[int]:
        jobs = [next(self.numbers) for _ in prompts]
        self.running |= {job: prompt.split() for job, prompt in zip(jobs, prompts, strict=True)}
        return jobs

    def cancel(self, job: int) -> None:
        self.running.pop(job, None)

    def reset(self) -> None:
        self.running = {}

    def step(self) -> list[Piece]:
        if any(words[0] == "bad" for words in self.running.values()):
            activations = Activations()
            self.held.append(ref(activations))
            raise ValueError("bad")
        pieces = []
        for job, words in list(self.running.items()):
            word = words.pop(0)
            pieces.append(Piece(job, word, None if words else Generated(word, 1, 1)))
            if not words:
                del self.running[job]
        return pieces


class Pipeline:
    """Finds nothing; the query `unfindable` raises, and so does everything once it is `broken`."""

    joins = True

    def __init__(self) -> None:
        self.generator = Words()
        self.broken = False
        self.is_memory_free: list[bool] = []

    def find(self, asks: Sequence[Ask], steps: Steps = UNREPORTED) -> list[Found]:
        if self.broken or any(ask.query == "unfindable" for ask in asks):
            raise ValueError("cannot be found")
        return [Found(ask, (), {}) for ask in asks]

    def submit(self, found: Sequence[Found], steps: Steps = UNREPORTED) -> list[int]:
        return self.generator.submit([one.ask.query for one in found], [1] * len(found))

    def run(self, asks: Sequence[Ask], left: Any = tuple, steps: Steps = UNREPORTED) -> list[Answered | Failed]:
        [found] = self.find(asks)
        assert not self.generator.running, "nobody else's"
        self.is_memory_free.append(all(held() is None for held in self.generator.held))
        self.submit([found])
        try:
            while True:
                for piece in self.generator.step():
                    if piece.done is not None:
                        return [found.answered(piece.done, 0.0)]
        except ValueError:
            self.generator.reset()
            raise


def worked(queries: Sequence[str], pipeline: Pipeline) -> dict[int, str | Failed]:
    """The last words said to each, by ticket."""
    inbox: Inbox = SimpleQueue()
    for ticket, query in enumerate(queries):
        inbox.put((ticket, [Ask(query, 1, 1)]))
    told: dict[int, str | Failed] = {}

    def reply(ticket: int, answers: Sequence[Answered | Failed]) -> None:
        assert ticket not in told, "answered twice"
        [answer] = answers
        told[ticket] = answer if isinstance(answer, Failed) else answer.result
        if len(told) == len(queries):
            inbox.put(None)

    work(pipeline, inbox, reply, steps=UNREPORTED, max_new_tokens=1)  # type: ignore[arg-type]
    return told


@pytest.mark.parametrize("poison", ["bad at once", "late and bad", "unfindable"])
def test_it_fails_alone_and_the_others_end_as_they_would(poison: str) -> None:
    queries = ["one two three", poison, "four five"]
    assert worked(queries, Pipeline()) == {0: "three", 1: FAILED, 2: "five"}


def test_what_a_failed_step_held_in_memory_is_free_before_its_questions_run_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(isolation.log, "disabled", True)  # the records that pytest keeps hold the traceback
    pipeline = Pipeline()
    worked(["one two three", "late and bad"], pipeline)
    assert pipeline.is_memory_free == [True, True]


def test_one_that_is_not_taken_in_is_not_tried_again_with_those_who_come_later() -> None:
    assert worked(["one two", "unfindable"], Pipeline()) == {0: "two", 1: FAILED}


def test_two_poisoned_ones_and_nobody_else_cost_a_question_of_our_own() -> None:
    assert worked(["unfindable", "bad"], Pipeline()) == {0: FAILED, 1: FAILED}


def test_an_engine_that_takes_nobody_in_any_more_is_unfit() -> None:
    pipeline = Pipeline()
    pipeline.broken = True
    with pytest.raises(EngineUnfit, match="cannot be found, for a question of our own too"):
        worked(["one", "two"], pipeline)
