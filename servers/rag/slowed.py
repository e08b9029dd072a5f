"""A pipeline that takes several times as long as it must: a fault, to study what a slow replica does to others."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from servers.rag.failed import Failed
from servers.rag.pipeline import Answered, Ask
from servers.rag.steps import UNREPORTED, Steps

if TYPE_CHECKING:
    from servers.rag.pipeline import Pipeline
    from servers.rag.stub import Stub

__all__ = ["Slowed"]


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
