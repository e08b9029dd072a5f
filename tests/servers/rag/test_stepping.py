"""The pipeline as a backend: when answers are given, and what they say of their stages."""

from collections.abc import Sequence
from typing import Any

from servers.backend import Chunk, Done, Event, Failed, Failure
from servers.backend.steps import UNREPORTED, Steps
from servers.rag.generation import Generated
from servers.rag.pipeline import Answered, Ask, Found
from servers.rag.stepping import PipelineBackend

BUSY = Failure("busy", "come back", 3)


class Words:
    """A generator of one word a step; `busy` is refused in its own step."""

    reading = 0
    window = None

    def __init__(self, *, is_continuous: bool) -> None:
        self.is_continuous = is_continuous
        self.running: dict[int, list[str]] = {}

    def submit(self, jobs: Sequence[int], prompts: Sequence[str], limits: Sequence[int]) -> None:
        self.running |= {job: prompt.split() for job, prompt in zip(jobs, prompts, strict=True)}

    def cancel(self, job: int) -> None:
        del self.running[job]

    def reset(self) -> None:
        self.running = {}

    def step(self) -> list[Event]:
        events: list[Event] = [Chunk(99, (0,)), Done(99, Generated("of another life", 1, 1))]
        for job, words in list(self.running.items()):
            word = words.pop(0)
            events.append(Failed(job, BUSY) if word == "busy" else Chunk(job, (), word))
            if not words and word != "busy":
                events.append(Done(job, Generated(word, 1, 1)))
            if not words:
                del self.running[job]
        return events


class Pipeline:
    """Finds nothing."""

    def __init__(self, *, is_continuous: bool) -> None:
        self.generator = Words(is_continuous=is_continuous)

    def find(self, asks: Sequence[Ask], steps: Steps = UNREPORTED) -> list[Found]:
        return [Found(ask, (), {"embed": 0.5}) for ask in asks]

    def prompts(self, found: Sequence[Found], steps: Steps = UNREPORTED) -> list[str]:
        return [one.ask.query for one in found]


def backend(*queries: str, is_continuous: bool) -> tuple[PipelineBackend, Any]:
    pipeline: Any = Pipeline(is_continuous=is_continuous)
    made = PipelineBackend(pipeline)
    made.submit(range(len(queries)), [Ask(query, 1, 9) for query in queries])
    return made, pipeline.generator


def ended(events: Sequence[Event]) -> dict[int, Answered | Failure]:
    done = {event.job: event.result for event in events if isinstance(event, Done)}
    return done | {event.job: event.failure for event in events if isinstance(event, Failed)}


def test_answers_of_a_batch_come_when_all_are_there_and_were_in_it_for_as_long() -> None:
    made, _ = backend("a b c", "d", is_continuous=False)
    first, second, third = (ended(made.step()) for _ in range(3))
    assert (first, second) == ({}, {})
    assert {job: answer.result for job, answer in third.items()} == {0: "c", 1: "d"}  # type: ignore[union-attr]
    assert third[0].stage_s == third[1].stage_s  # type: ignore[union-attr]
    assert set(third[0].stage_s) == {"embed", "generate"}  # type: ignore[union-attr]


def test_answers_of_a_continuous_one_come_each_by_itself() -> None:
    made, _ = backend("a b c", "d", is_continuous=True)
    first, second, third = (ended(made.step()) for _ in range(3))
    assert [set(step) for step in (first, second, third)] == [{1}, set(), {0}]
    assert first[1].stage_s["generate"] < third[0].stage_s["generate"]  # type: ignore[union-attr]


def test_a_batch_whose_last_job_is_cancelled_gives_the_answers_of_the_others() -> None:
    made, generator = backend("a b c", "d", is_continuous=False)
    assert ended(made.step()) == {}
    made.cancel(0)
    made.cancel(0)
    assert set(ended(made.step())) == {1}
    assert generator.running == {}
    assert made.step() == []


def test_a_refusal_is_its_own_and_comes_at_once() -> None:
    made, _ = backend("a b", "busy", is_continuous=False)
    assert ended(made.step()) == {1: BUSY}
    assert set(ended(made.step())) == {0}


def test_chunks_are_those_of_its_own_jobs_and_of_none_that_was_reset() -> None:
    made, _ = backend("a b", is_continuous=True)
    assert [event for event in made.step() if isinstance(event, Chunk)] == [Chunk(0, (), "a")]
    made.reset()
    assert made.step() == []
