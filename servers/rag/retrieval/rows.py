"""Vectors as they were given, each with its id. Compares and searches nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from servers.rag.retrieval import store
from servers.rag.retrieval.metrics import checked_vectors

__all__ = ["Rows"]


@dataclass(frozen=True, slots=True)
class Rows:
    """vectors (n, d) f32 or f16, in memory or mapped from a file; ids (n,) i64; `next_id` is given next."""

    vectors: np.ndarray
    ids: np.ndarray
    next_id: int

    @classmethod
    def of(cls, vectors: np.ndarray) -> "Rows":
        """With ids that are their places. Raises ValueError on what are no rows of numbers."""
        return cls(checked_vectors(vectors), np.arange(len(vectors)), len(vectors))

    @classmethod
    def restored(cls, arrays: Mapping[str, np.ndarray]) -> "Rows":
        """From what `arrays` gave. Raises StoreError where one is missing."""
        store.require(arrays, "vectors", "ids", "next")
        return cls(checked_vectors(arrays["vectors"]), np.asarray(arrays["ids"]), int(arrays["next"]))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        count, dimensions = self.vectors.shape
        return count, dimensions

    def arrays(self) -> dict[str, np.ndarray]:
        """What `restored` reads."""
        return {"vectors": self.vectors, "ids": self.ids, "next": np.array(self.next_id)}

    def joined(self, vectors: np.ndarray) -> "Rows":
        """A copy with more of them, (m, d), at the end. Raises ValueError on other dimensions."""
        if vectors.ndim != 2 or vectors.shape[1] != self.shape[1]:
            raise ValueError(f"vectors must be rows of {self.shape[1]} numbers, got shape {vectors.shape}")
        end = self.next_id + len(vectors)
        return Rows(
            checked_vectors(np.concatenate([self.vectors, checked_vectors(vectors)])),
            np.concatenate([self.ids, np.arange(self.next_id, end)]),
            end,
        )

    def part(self, places: np.ndarray) -> "Rows":
        """A copy of those at these places, in their order; or of those that a mask names."""
        return Rows(self.vectors[places], self.ids[places], self.next_id)
