"""The pipeline as a backend: embeds questions, retrieves documents, makes prompts and has answers generated.

Questions and answers are named tuples, which are sent to the engine's process and back without field names.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from servers.backend import Chunk, Done, Event, Loaded
from servers.backend.steps import UNREPORTED, Steps
from servers.rag.generation import Generated, reported_step
from servers.rag.room import fitted

if TYPE_CHECKING:
    from servers.rag.corpus import Corpus
    from servers.rag.embedding import Embedder
    from servers.rag.generation import Generator
    from servers.rag.retrieval import Index

STAGES = ("embed", "retrieve", "generate")


class NotFinite(RuntimeError):
    """Embeddings hold NaN or infinity. `places`: of their questions among the `count` of the batch, from 0."""

    def __init__(self, places: Sequence[int], count: int) -> None:
        listed = ", ".join(map(str, places))
        super().__init__(f"NaN or infinity in the embedding of question {listed} of {count}, counted from 0")
        self.places = tuple(places)


class Ask(NamedTuple):
    """A question, the number of documents to retrieve, and the most tokens of the answer."""

    query: str
    k: int
    max_new_tokens: int


class Hit(NamedTuple):
    """A retrieved document. `score` is a similarity or a distance, depending on the metric."""

    id: str
    text: str
    score: float


class Answered(NamedTuple):
    """An answer. `stage_s` are the times of its batch, since each request is in a stage for as long as its batch."""

    query: str
    result: str
    documents: tuple[Hit, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    stage_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class Found:
    """A question with its documents. `stage_s` as in Answered, of the stages until `ended_s`."""

    ask: Ask
    hits: tuple[Hit, ...]
    stage_s: dict[str, float]
    ended_s: float = 0.0

    def answered(self, made: Generated, now_s: float) -> Answered:
        """The answer with the generated text."""
        stage_s = {**self.stage_s, "generate": now_s - self.ended_s}
        return Answered(self.ask.query, made.text, self.hits, made.prompt_tokens, made.completion_tokens, stage_s)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The loaded parts. `about` is their part of `GET /info`.

    If the generator is not continuous, the answers of a batch come together at its end, with the times of the batch.
    """

    embedder: "Embedder"
    index: "Index"
    corpus: "Corpus"
    prompt: Callable[[str, Sequence[str]], str]
    generator: "Generator"
    model_name: str
    about: dict[str, Any]
    _running: dict[int, Found] = field(default_factory=dict)
    _ended: list[tuple[Found, Done[Generated]]] = field(default_factory=list)

    @property
    def is_continuous(self) -> bool:
        """As the generator."""
        return self.generator.is_continuous

    def loaded(self) -> Loaded:
        """Facts about the parts."""
        corpus, window = self.corpus, self.generator.window
        return Loaded(
            corpus_size=len(corpus),
            model_name=self.model_name,
            is_continuous=self.is_continuous,
            info={"corpus": {"name": corpus.name, "size": len(corpus), "checksum": corpus.checksum}, **self.about},
            document_chars=sum(map(len, corpus.texts)) // len(corpus),
            positions=None if window is None else window.positions,
        )

    def submit(self, jobs: Sequence[int], requests: Sequence[Ask], steps: Steps = UNREPORTED) -> None:
        """Embed, retrieve, and submit the prompts to the generator."""
        found = self.find(requests, steps)
        self.generator.submit(jobs, self.prompts(found, steps), [ask.max_new_tokens for ask in requests])
        self._running.update(zip(jobs, found, strict=True))

    def cancel(self, job: int) -> None:
        """Remove the job from the batch with the next step."""
        if self._running.pop(job, None) is not None:
            self.generator.cancel(job)

    def step(self, steps: Steps = UNREPORTED) -> list[Event]:
        """One token for each running job."""
        events: list[Event] = []
        for event in reported_step(self.generator, steps) if self._running else ():
            if (found := self._running.get(event.job)) is None:
                continue
            if not isinstance(event, Chunk):
                del self._running[event.job]
            if isinstance(event, Done):
                self._ended.append((found, event))
            else:
                events.append(event)
        if self.is_continuous or not self._running:
            now_s = time.perf_counter()
            events += [Done(done.job, found.answered(done.result, now_s)) for found, done in self._ended]
            self._ended.clear()
        return events

    def reset(self) -> None:
        """Forget all jobs, here and in the generator."""
        self._running.clear()
        self._ended.clear()
        self.generator.reset()

    def find(self, asks: Sequence[Ask], steps: Steps = UNREPORTED) -> list[Found]:
        """The documents of each question, in order. The batch is searched for its largest k, and rows are cut.

        Raises NotFinite.
        """
        stage_s: dict[str, float] = {}
        with _timed(stage_s, "embed"), steps.step("embed", sum(len(ask.query) for ask in asks)):
            vectors = self.embedder.queries([ask.query for ask in asks])
        if broken := np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
            raise NotFinite(broken, len(asks))
        with _timed(stage_s, "retrieve"), steps.step("search", len(asks)):
            ids, scores = self.index.search(vectors, max(ask.k for ask in asks))
            hits = [self._hits(ask, ids[row], scores[row]) for row, ask in enumerate(asks)]
        ended_s = time.perf_counter()
        return [Found(*pair, stage_s, ended_s) for pair in zip(asks, hits, strict=True)]

    def prompts(self, found: Sequence[Found], steps: Steps = UNREPORTED) -> list[str]:
        """One prompt each. The lowest ranked documents are left out if they would not fit the model."""
        asked = [(item.ask.query, [hit.text for hit in item.hits]) for item in found]
        window = self.generator.window
        if window is None:
            return [self.prompt(query, texts) for query, texts in asked]
        rooms = [window.positions - item.ask.max_new_tokens for item in found]
        with steps.step("tokenise", sum(len(text) for _, texts in asked for text in texts)):
            return fitted(self.prompt, asked, rooms, window.lengths)

    def _hits(self, ask: Ask, ids: np.ndarray, scores: np.ndarray) -> tuple[Hit, ...]:
        """The documents of one row; an approximate search may find fewer than k."""
        pairs = zip(ids[: ask.k].tolist(), scores[: ask.k].tolist(), strict=True)
        return tuple(Hit(self.corpus.ids[row], self.corpus.texts[row], score) for row, score in pairs if row >= 0)


@contextmanager
def _timed(stage_s: dict[str, float], stage: str) -> Iterator[None]:
    started_s = time.perf_counter()
    yield
    stage_s[stage] = time.perf_counter() - started_s
