"""The contract of what looks into lists. `array_scan` does it with arrays, `compiled_scan` with a compiled loop."""

from typing import Protocol

import numpy as np

from servers.rag.retrieval.arrays import Arrays
from servers.rag.retrieval.lists import Lists

__all__ = ["Find", "Scan"]


class Find(Protocol):
    """A search of the lists it was made for."""

    def __call__(self, queries: np.ndarray, nprobe: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best in each query's nprobe nearest lists. queries (q, d) f32 -> ids (q, k) i64, keys (q, k) f64.

        Best first, ties by lowest id; id -1 and key -inf where there are fewer. Keys of vectors are exact, keys of
        codes those of the decoded vector in float32. Needs q >= 1, k >= 1 and 1 <= nprobe <= lists.
        """


class Scan(Protocol):
    """A way to search lists, and to compare vectors."""

    @property
    def arrays(self) -> Arrays:
        """What clusters the vectors."""

    def over(self, lists: Lists, metric: str) -> Find:
        """A search of these lists."""

    def compare(self, metric: str, queries: np.ndarray, vectors: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Exact keys (q, c) f64 of each query and the vectors that its row of ids (q, c) names; -inf for id -1."""
