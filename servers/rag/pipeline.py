"""Embed, retrieve, prompt, generate for a list of questions, with the seconds of each stage. No HTTP, no queue."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from servers.rag.generation import generate

if TYPE_CHECKING:
    import numpy as np

    from servers.rag.corpus import Corpus
    from servers.rag.embedding import Embedder
    from servers.rag.generation import Generator
    from servers.rag.retrieval import Index

__all__ = ["Answered", "Ask", "Hit", "Pipeline"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One question: how many documents it wants, and how many tokens its answer may have."""

    query: str
    k: int
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One retrieved document with its inner product."""

    id: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer. `stage_s` is the whole batch's time: that is how long each of its requests was in the stage."""

    query: str
    result: str
    documents: tuple[Hit, ...]
    prompt_tokens: int
    completion_tokens: int
    stage_s: dict[str, float]


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

    @property
    def corpus_size(self) -> int:
        """Number of documents."""
        return len(self.corpus)

    def info(self) -> dict[str, Any]:
        """What is loaded, as JSON values."""
        return {
            "corpus": {"name": self.corpus.name, "size": len(self.corpus), "checksum": self.corpus.checksum},
            **self.about,
        }

    def run(self, asks: Sequence[Ask]) -> list[Answered]:
        """Answers in order. The batch searches for its largest k and generates to its longest limit; rows are cut."""
        stage_s: dict[str, float] = {}
        with _timed(stage_s, "embed"):
            vectors = self.embedder.queries([ask.query for ask in asks])
        with _timed(stage_s, "retrieve"):
            ids, scores = self.index.search(vectors, max(ask.k for ask in asks))
            hits = [self._hits(ask, ids[row], scores[row]) for row, ask in enumerate(asks)]
        with _timed(stage_s, "generate"):
            prompts = self._prompts(asks, hits)
            generated = generate(self.generator, prompts, [ask.max_new_tokens for ask in asks])
        return [
            Answered(ask.query, made.text, found, made.prompt_tokens, made.completion_tokens, stage_s)
            for ask, found, made in zip(asks, hits, generated, strict=True)
        ]

    def _hits(self, ask: Ask, ids: "np.ndarray", scores: "np.ndarray") -> tuple[Hit, ...]:
        pairs = zip(ids[: ask.k].tolist(), scores[: ask.k].tolist(), strict=True)
        return tuple(Hit(self.corpus.ids[row], self.corpus.texts[row], score) for row, score in pairs)

    def _prompts(self, asks: Sequence[Ask], hits: Sequence[Sequence[Hit]]) -> list[str]:
        """One prompt each; where it would not fit the model, the lowest ranked documents are left out of it."""
        longest = max(ask.max_new_tokens for ask in asks)
        texts = [[hit.text for hit in found] for found in hits]
        while True:
            prompts = [self.prompt(ask.query, kept) for ask, kept in zip(asks, texts, strict=True)]
            fits = self.generator.fits(prompts, longest)
            if all(fit or not kept for fit, kept in zip(fits, texts, strict=True)):
                return prompts
            texts = [kept if fit else kept[: len(kept) * 3 // 4] for fit, kept in zip(fits, texts, strict=True)]


@contextmanager
def _timed(stage_s: dict[str, float], stage: str) -> Iterator[None]:
    started_s = time.perf_counter()
    yield
    stage_s[stage] = time.perf_counter() - started_s
