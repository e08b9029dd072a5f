"""The pipeline: order, each request's own limits, prompts that fit; when answers are given, and what they say."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from servers.backend import Chunk, Done, Event, Failed, Failure, run
from servers.rag.build import build
from servers.rag.corpus import Corpus
from servers.rag.embedding import Embedder
from servers.rag.generation import Generated, Window
from servers.rag.models import PROFILES
from servers.rag.pipeline import Answered, Ask, NotFinite, Pipeline
from servers.rag.prompts import PROMPTS
from servers.rag.retrieval import BACKENDS
from servers.rag.retrieval import build as build_index
from servers.settings import Settings


class FirstLetter:
    """Encodes a text by its first letter."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.eye(26, dtype=np.float32)[[ord(text[0].lower()) - ord("a") for text in texts]]


class Counter:
    """Answers with the number of lines of the prompt; takes prompts of at most `most` characters."""

    is_continuous = False
    reading = 0

    def __init__(self, most: int) -> None:
        self.most = most
        self.limits: list[int] = []

    @property
    def window(self) -> Window:
        return Window(self.most + 5, lambda texts: [len(text) for text in texts])

    def submit(self, jobs: Sequence[int], prompts: Sequence[str], max_new_tokens: Sequence[int]) -> None:
        self.limits = list(max_new_tokens)
        self.prompts = dict(zip(jobs, prompts, strict=True))

    def cancel(self, job: int) -> None:
        raise AssertionError("nobody gives up here")

    def reset(self) -> None:
        self.prompts = {}

    def step(self) -> list[Event]:
        return [
            Done(job, Generated(f"{prompt.count(chr(10)) - 1} documents", len(prompt), 2))
            for job, prompt in reversed(self.prompts.items())
        ]


def pipeline(generator: Counter) -> Pipeline:
    texts = tuple(f"{letter} is a letter" for letter in "abcdefgh")
    corpus = Corpus("letters", tuple("ABCDEFGH"), texts)
    embedder = Embedder(FirstLetter(), PROFILES["tiny"])
    index = build_index("numpy", embedder.documents(texts))
    return Pipeline(embedder, index, corpus, PROMPTS["short"], generator, "counter", {})


def answered(whole: Pipeline, asks: Sequence[Ask]) -> list[Any]:
    return run(whole, asks)


def test_each_request_gets_its_own_k_and_limit_in_order() -> None:
    generator = Counter(most=10_000)
    answers = answered(pipeline(generator), [Ask("c?", 1, 5), Ask("a?", 3, 2), Ask("h?", 8, 9)])
    assert [answer.query for answer in answers] == ["c?", "a?", "h?"]
    assert [answer.documents[0].id for answer in answers] == ["C", "A", "H"]
    assert [len(answer.documents) for answer in answers] == [1, 3, 8]
    assert [answer.result for answer in answers] == ["1 documents", "3 documents", "8 documents"]
    assert generator.limits == [5, 2, 9]
    assert set(answers[0].stage_s) == {"embed", "retrieve", "generate"}


class Breaking(FirstLetter):
    """Encodes what begins with b as NaN, and with i as infinity, as a model in float16 may."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = super().encode(texts)
        vectors[[text[0] == "b" for text in texts], 3] = np.nan
        vectors[[text[0] == "i" for text in texts], 3] = np.inf
        return vectors


def test_an_embedding_that_is_not_finite_fails_and_names_its_questions() -> None:
    whole = replace(pipeline(Counter(most=10_000)), embedder=Embedder(Breaking(), PROFILES["tiny"]))
    with pytest.raises(NotFinite, match=r"NaN or infinity in the embedding of question 1, 3 of 4") as broken:
        answered(whole, [Ask("a?", 1, 5), Ask("b?", 1, 5), Ask("c?", 1, 5), Ask("i?", 1, 5)])
    assert broken.value.places == (1, 3)
    [answer] = answered(whole, [Ask("c?", 1, 5)])
    assert answer.documents[0].id == "C"


def test_a_prompt_that_does_not_fit_loses_its_last_documents_but_the_answer_lists_them() -> None:
    [answer] = answered(pipeline(Counter(most=90)), [Ask("c?", 8, 5)])
    assert answer.result == "5 documents"
    assert len(answer.documents) == 8


def test_a_question_that_never_fits_is_asked_without_documents() -> None:
    [answer] = answered(pipeline(Counter(most=5)), [Ask("c?", 8, 5)])
    assert answer.result == "0 documents"


def test_the_tiny_profile_answers_the_classic_question(tmp_path: Path) -> None:
    for retriever in BACKENDS:
        whole = build(Settings(corpus_size=200, retriever=retriever, cache_dir=tmp_path))
        asks = [Ask("Which animals can hover in the air?", 2, 8), Ask("Which animals can spin webs?", 50, 8)]
        hover, spin = answered(whole, asks)
        assert (hover.result, len(spin.documents)) == ("hummingbirds", 50)
        assert "spiders" in spin.documents[0].text
        assert hover.completion_tokens >= 1


def test_an_approximate_index_answers_with_the_documents_that_it_found(tmp_path: Path) -> None:
    settings = Settings(corpus_size=200, cache_dir=tmp_path, index="ivf", metric="cosine", nlist=40, nprobe=1)
    whole = build(settings)
    [hover] = answered(whole, [Ask("Which animals can hover in the air?", 50, 8)])
    assert hover.result == "hummingbirds"
    assert 1 <= len(hover.documents) < 50
    assert hover.documents[0].score >= hover.documents[-1].score
    assert (whole.about["index"], whole.about["metric"]) == ("ivf", "cosine")


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


class Nowhere:
    """Finds nothing."""

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 1), np.float32)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((len(queries), k), -1), np.zeros((len(queries), k), np.float32)


def asked(*queries: str, is_continuous: bool) -> tuple[Pipeline, Any]:
    """A pipeline that has these questions as its jobs from 0, and its generator."""
    generator, nowhere = Words(is_continuous=is_continuous), Nowhere()
    corpus = Corpus("none", ("0",), ("",))
    made = Pipeline(nowhere, nowhere, corpus, lambda query, texts: query, generator, "words", {})
    made.submit(range(len(queries)), [Ask(query, 1, 9) for query in queries])
    return made, generator


def ended(events: Sequence[Event]) -> dict[int, Answered | Failure]:
    done = {event.job: event.result for event in events if isinstance(event, Done)}
    return done | {event.job: event.failure for event in events if isinstance(event, Failed)}


def test_answers_of_a_batch_come_when_all_are_there_and_were_in_it_for_as_long() -> None:
    made, _ = asked("a b c", "d", is_continuous=False)
    first, second, third = (ended(made.step()) for _ in range(3))
    assert (first, second) == ({}, {})
    assert {job: answer.result for job, answer in third.items()} == {0: "c", 1: "d"}  # type: ignore[union-attr]
    assert third[0].stage_s == third[1].stage_s  # type: ignore[union-attr]
    assert set(third[0].stage_s) == {"embed", "retrieve", "generate"}  # type: ignore[union-attr]


def test_answers_of_a_continuous_one_come_each_by_itself() -> None:
    made, _ = asked("a b c", "d", is_continuous=True)
    first, second, third = (ended(made.step()) for _ in range(3))
    assert [set(step) for step in (first, second, third)] == [{1}, set(), {0}]
    assert first[1].stage_s["generate"] < third[0].stage_s["generate"]  # type: ignore[union-attr]


def test_a_batch_whose_last_job_is_cancelled_gives_the_answers_of_the_others() -> None:
    made, generator = asked("a b c", "d", is_continuous=False)
    assert ended(made.step()) == {}
    made.cancel(0)
    made.cancel(0)
    assert set(ended(made.step())) == {1}
    assert generator.running == {}
    assert made.step() == []


def test_a_refusal_is_its_own_and_comes_at_once() -> None:
    made, _ = asked("a b", "busy", is_continuous=False)
    assert ended(made.step()) == {1: BUSY}
    assert set(ended(made.step())) == {0}


def test_chunks_are_those_of_its_own_jobs_and_of_none_that_was_reset() -> None:
    made, _ = asked("a b", is_continuous=True)
    assert [event for event in made.step() if isinstance(event, Chunk)] == [Chunk(0, (), "a")]
    made.reset()
    assert made.step() == []
