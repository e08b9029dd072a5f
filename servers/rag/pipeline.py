"""Embed, retrieve and prompt for a list of questions, with the seconds of each stage. No HTTP, no queue.

What is generated of the prompts, and when, is in stepping.py.

What goes in and out are named tuples: they cross to the engine's process and back, without their fields' names.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from servers.backend.steps import UNREPORTED, Steps
from servers.rag.generation import Generated
from servers.rag.room import fitted

if TYPE_CHECKING:
    from servers.rag.corpus import Corpus
    from servers.rag.embedding import Embedder
    from servers.rag.generation import Generator
    from servers.rag.retrieval import Index

STAGES = ("embed", "retrieve", "generate")


class NotFinite(RuntimeError):
    """Questions whose embeddings hold NaN or infinity, and so are near to nothing.

    `places` are theirs among the `count` that were asked together, from 0.
    """

    def __init__(self, places: Sequence[int], count: int) -> None:
        told = ", ".join(map(str, places))
        super().__init__(f"NaN or infinity in the embedding of question {told} of {count}, counted from 0")
        self.places = tuple(places)


class Ask(NamedTuple):
    """One question: how many documents it wants, and how many tokens its answer may have."""

    query: str
    k: int
    max_new_tokens: int


class Hit(NamedTuple):
    """One retrieved document with its score: a similarity or a distance, as the metric says."""

    id: str
    text: str
    score: float


class Answered(NamedTuple):
    """One answer. `stage_s` is the whole batch's time: that is how long each of its requests was in the stage."""

    query: str
    result: str
    documents: tuple[Hit, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    stage_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class Found:
    """A question with its documents, before an answer is generated. `stage_s` as in Answered, of the stages so far."""

    ask: Ask
    hits: tuple[Hit, ...]
    stage_s: dict[str, float]

    def answered(self, made: Generated, generate_s: float) -> Answered:
        """With the answer that was generated."""
        stage_s = {**self.stage_s, "generate": generate_s}
        return Answered(self.ask.query, made.text, self.hits, made.prompt_tokens, made.completion_tokens, stage_s)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The parts, loaded. `about` is what `GET /info` says of them."""

    embedder: "Embedder"
    index: "Index"
    corpus: "Corpus"
    prompt: Callable[[str, Sequence[str]], str]
    generator: "Generator"
    model_name: str
    about: dict[str, Any]

    def info(self) -> dict[str, Any]:
        """What is loaded, as JSON values."""
        return {
            "corpus": {"name": self.corpus.name, "size": len(self.corpus), "checksum": self.corpus.checksum},
            **self.about,
        }

    def find(self, asks: Sequence[Ask], steps: Steps = UNREPORTED) -> list[Found]:
        """Each question's documents, in order. The batch is searched for its largest k; rows are cut.

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
        return [Found(ask, each, stage_s) for ask, each in zip(asks, hits, strict=True)]

    def prompts(self, found: Sequence[Found], steps: Steps = UNREPORTED) -> list[str]:
        """One prompt each; where it would not fit the model, the lowest ranked documents are left out of it."""
        asked = [(one.ask.query, [hit.text for hit in one.hits]) for one in found]
        window = self.generator.window
        if window is None:
            return [self.prompt(query, texts) for query, texts in asked]
        rooms = [window.positions - one.ask.max_new_tokens for one in found]
        with steps.step("tokenise", sum(len(text) for _, texts in asked for text in texts)):
            return fitted(self.prompt, asked, rooms, window.lengths)

    def _hits(self, ask: Ask, ids: np.ndarray, scores: np.ndarray) -> tuple[Hit, ...]:
        """Those that were found: an approximate search may find fewer than k."""
        pairs = zip(ids[: ask.k].tolist(), scores[: ask.k].tolist(), strict=True)
        return tuple(Hit(self.corpus.ids[row], self.corpus.texts[row], score) for row, score in pairs if row >= 0)


@contextmanager
def _timed(stage_s: dict[str, float], stage: str) -> Iterator[None]:
    started_s = time.perf_counter()
    yield
    stage_s[stage] = time.perf_counter() - started_s
