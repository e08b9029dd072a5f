"""Vectors with their ids, and the part of an Index that adds, removes and saves them. Searches nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from servers.rag.retrieval import store
from servers.rag.retrieval.metrics import checked_vectors
from servers.rag.retrieval.spec import Spec


@dataclass(frozen=True, slots=True)
class Rows:
    """vectors (n, d) f32 or f16, in memory or memory-mapped; ids (n,) i64; `next_id`: that of the next vector."""

    vectors: np.ndarray
    ids: np.ndarray
    next_id: int

    @classmethod
    def of(cls, vectors: np.ndarray) -> "Rows":
        """Rows whose ids are their places. Raises ValueError where `vectors` has another shape."""
        return cls(checked_vectors(vectors), np.arange(len(vectors)), len(vectors))

    @classmethod
    def restored(cls, arrays: Mapping[str, np.ndarray]) -> "Rows":
        """The inverse of `arrays`. Raises StoreError where an array is missing."""
        store.require(arrays, "vectors", "ids", "next")
        return cls(checked_vectors(arrays["vectors"]), np.asarray(arrays["ids"]), int(arrays["next"]))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        count, dimensions = self.vectors.shape
        return count, dimensions

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays to save, by name."""
        return {"vectors": self.vectors, "ids": self.ids, "next": np.array(self.next_id)}

    def joined(self, vectors: np.ndarray) -> "Rows":
        """A copy with further rows (m, d) at the end. Raises ValueError on other dimensions."""
        if vectors.ndim != 2 or vectors.shape[1] != self.shape[1]:
            raise ValueError(f"vectors must be rows of {self.shape[1]} numbers, got shape {vectors.shape}")
        end = self.next_id + len(vectors)
        return Rows(
            checked_vectors(np.concatenate([self.vectors, checked_vectors(vectors)])),
            np.concatenate([self.ids, np.arange(self.next_id, end)]),
            end,
        )

    def part(self, places: np.ndarray) -> "Rows":
        """A copy of the rows at these places, in their order, or of those in a mask."""
        return Rows(self.vectors[places], self.ids[places], self.next_id)


class Stored:
    """What all indexes share. A subclass sets `spec` and defines `_take`, which indexes other rows."""

    spec: Spec
    _rows: Rows

    def _take(self, rows: Rows) -> None:
        """Index these rows instead. Raises ValueError where they cannot be indexed."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self._rows.shape

    def add(self, vectors: np.ndarray) -> np.ndarray:
        """As Index has it; copies the rows."""
        self._take(self._rows.joined(vectors))
        return self._rows.ids[self.shape[0] - len(vectors) :].copy()

    def remove(self, ids: np.ndarray) -> int:
        """As Index has it; copies the rows."""
        before = self.shape[0]
        self._take(self._rows.part(~np.isin(self._rows.ids, ids)))
        return before - self.shape[0]

    def save(self, folder: Path) -> None:
        """As Index has it."""
        store.write(folder, self.spec.as_dict(), self._arrays())

    def _arrays(self) -> dict[str, np.ndarray]:
        return self._rows.arrays()
