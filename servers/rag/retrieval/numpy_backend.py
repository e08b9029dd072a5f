"""Exact search by one matrix product in numpy: the reference for every other backend."""

import numpy as np

from servers.rag.retrieval import require_finite

__all__ = ["NumpyIndex", "build"]


_BLOCK = 128  # rows of which only the best is looked at first


class NumpyIndex:
    """Vectors (n, d) f32 in main memory, kept as (d, n): a few queries times that is what BLAS does fastest."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._columns = np.ascontiguousarray(np.asarray(vectors, dtype=np.float32).T)

    @property
    def shape(self) -> tuple[int, int]:
        """See Index."""
        dimensions, count = self._columns.shape
        return count, dimensions

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Top-k rows by inner product. queries (q, d) f32 -> ids (q, k) i64, scores (q, k) f32; ties by lowest id.

        Of the best scores of k or more blocks the k-th is one that k rows reach: a threshold for little work. Sorting
        what is not below it, ids second, settles order and ties.
        """
        require_finite(queries)
        count = self._columns.shape[1]
        k = min(k, count)
        scores = np.asarray(queries, dtype=np.float32) @ self._columns
        blocks = np.arange(0, count, min(_BLOCK, count // k)) if k else np.arange(0)
        bests = np.maximum.reduceat(scores, blocks, axis=1)
        threshold = np.partition(bests, len(blocks) - k, axis=1)[:, len(blocks) - k, None]
        rows, ids = np.nonzero(scores >= threshold)
        order = np.lexsort((ids, -scores[rows, ids], rows))
        first = np.searchsorted(rows[order], np.arange(len(scores)))
        best = ids[order[first[:, None] + np.arange(k)]]
        return best.astype(np.int64), np.take_along_axis(scores, best, axis=1)


def build(vectors: np.ndarray, device: str) -> NumpyIndex:
    """The index; numpy has one device."""
    return NumpyIndex(vectors)
