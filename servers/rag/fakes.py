"""Pipelines for studies: one that only takes its time, and one that makes another slower. Neither runs a model."""

import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from servers.rag.failed import Failed
from servers.rag.pipeline import Answered, Ask, Hit
from servers.rag.steps import UNREPORTED, Steps

if TYPE_CHECKING:
    from servers.rag.pipeline import Pipeline

__all__ = ["Slowed", "Stub"]

_CRASHED = 139  # as a shell tells of a segmentation fault


@dataclass(frozen=True, slots=True)
class Stub:
    """A batch of n takes `batch_s` + n `item_s`, asleep; each question is its own answer.

    With faults to order: a run with the text `poison` in a question fails, or `ends` its process as a crash in a
    library does, and every run fails `fails_after_s`.
    """

    batch_s: float = 0.0002
    item_s: float = 0.00002
    poison: str | None = None
    ends: bool = False
    fails_after_s: float = float("inf")
    corpus_size: int = 10_000
    model_name: str = "stub"
    joins: Literal[False] = False
    document_chars: int = 10
    positions: None = None
    _made_s: float = field(default_factory=time.monotonic)

    def info(self) -> dict[str, Any]:
        """As of a pipeline."""
        corpus = {"name": "none", "size": self.corpus_size, "checksum": "0" * 16}
        return {"corpus": corpus, "profile": "stub", "batch_s": self.batch_s, "item_s": self.item_s, "device": "cpu"}

    def run(
        self, asks: Sequence[Ask], left: Callable[[], Collection[int]] = tuple, steps: Steps = UNREPORTED
    ) -> list[Answered | Failed]:
        """The questions back; those that have `left` before the run take no time of it."""
        length_s = self.batch_s + self.item_s * (len(asks) - len(left()))
        steps.sleep(length_s)
        if time.monotonic() - self._made_s > self.fails_after_s:
            raise RuntimeError("a fault to order: every run fails")
        if self.poison is not None and any(self.poison in ask.query for ask in asks):
            if self.ends:
                os._exit(_CRASHED)
            raise RuntimeError("a fault to order: one of the questions is poisoned")
        hit = (Hit("0", "a document", 1.0),)
        return [Answered(ask.query, ask.query, hit, 1, 1, {"generate": length_s}) for ask in asks]


@dataclass(frozen=True, slots=True)
class Slowed:
    """Another pipeline, each of whose runs takes `times` as long; asleep for what it adds."""

    pipeline: "Pipeline | Stub"
    times: float
    joins: Literal[False] = False

    @property
    def corpus_size(self) -> int:
        """As of the pipeline."""
        return self.pipeline.corpus_size

    @property
    def document_chars(self) -> int:
        """As of the pipeline."""
        return self.pipeline.document_chars

    @property
    def positions(self) -> int | None:
        """As of the pipeline."""
        return self.pipeline.positions

    @property
    def model_name(self) -> str:
        """As of the pipeline."""
        return self.pipeline.model_name

    def info(self) -> dict[str, Any]:
        """As of the pipeline."""
        return self.pipeline.info()

    def run(
        self, asks: Sequence[Ask], left: Callable[[], Collection[int]] = tuple, steps: Steps = UNREPORTED
    ) -> list[Answered | Failed]:
        """As of the pipeline, later; the stages' own times are told as they were."""
        started_s = time.perf_counter()
        answers = self.pipeline.run(asks, left, steps)
        steps.sleep((self.times - 1) * (time.perf_counter() - started_s))
        return answers
