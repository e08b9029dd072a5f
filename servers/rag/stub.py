"""A pipeline that only takes its time: what is left of a request's latency is the server's doing. Runs no model."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from servers.rag.pipeline import Answered, Ask, Hit

__all__ = ["Stub"]


@dataclass(frozen=True, slots=True)
class Stub:
    """A batch of n takes `batch_s` + n `item_s`, asleep; each question is its own answer."""

    batch_s: float = 0.0002
    item_s: float = 0.00002
    corpus_size: int = 10_000
    model_name: str = "stub"
    joins: Literal[False] = False

    def info(self) -> dict[str, Any]:
        """As of a pipeline."""
        corpus = {"name": "none", "size": self.corpus_size, "checksum": "0" * 16}
        return {"corpus": corpus, "profile": "stub", "batch_s": self.batch_s, "item_s": self.item_s, "device": "cpu"}

    def run(self, asks: Sequence[Ask], left: Callable[[], Collection[int]] = tuple) -> list[Answered]:
        """The questions back; those that have `left` before the run take no time of it."""
        length_s = self.batch_s + self.item_s * (len(asks) - len(left()))
        time.sleep(length_s)
        hit = (Hit("0", "a document", 1.0),)
        return [Answered(ask.query, ask.query, hit, 1, 1, {"generate": length_s}) for ask in asks]
