"""Exact search by one matrix product in numpy: the reference for every other backend."""

import numpy as np

from servers.rag.retrieval import require_finite

__all__ = ["NumpyIndex", "build"]


class NumpyIndex:
    """Vectors (n, d) f32 in main memory."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Top-k rows by inner product. queries (q, d) f32 -> ids (q, k) i64, scores (q, k) f32; ties by lowest id.

        A partition finds each query's k-th best score; sorting what is not below it, ids second, settles the ties.
        """
        require_finite(queries)
        count = len(self._vectors)
        k = min(k, count)
        scores = np.asarray(queries, dtype=np.float32) @ self._vectors.T
        threshold = np.partition(scores, count - k, axis=1)[:, count - k, None]
        rows, ids = np.nonzero(scores >= threshold)
        order = np.lexsort((ids, -scores[rows, ids], rows))
        first = np.searchsorted(rows[order], np.arange(len(scores)))
        best = ids[order[first[:, None] + np.arange(k)]]
        return best.astype(np.int64), np.take_along_axis(scores, best, axis=1)


def build(vectors: np.ndarray, device: str) -> NumpyIndex:
    """The index; numpy has one device."""
    return NumpyIndex(vectors)
