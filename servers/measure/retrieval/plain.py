"""Search as one writes it in numpy at first: what the backends are measured against."""

from typing import Any

import numpy as np

__all__ = ["PlainIndex"]


class PlainIndex:
    """Every query against every vector, with a matrix of all their keys; ties fall as they may."""

    def __init__(self, vectors: np.ndarray, metric: str) -> None:
        self._metric = metric
        self._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if metric == "cosine" else vectors
        self._squares = np.einsum("nd,nd->n", vectors, vectors) if metric == "l2" else None

    @property
    def nbytes(self) -> int:
        """Of vectors and norms."""
        return self._vectors.nbytes + (0 if self._squares is None else self._squares.nbytes)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Queries (q, d) -> ids (q, k), scores (q, k), best first."""
        distances = self._distances(queries)
        ids = np.argpartition(distances, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(distances, ids, axis=1)
        order = np.argsort(near, axis=1)
        return np.take_along_axis(ids, order, axis=1), self._scores(np.take_along_axis(near, order, axis=1))

    def _distances(self, queries: np.ndarray) -> Any:
        """(q, n), smaller is nearer."""
        if self._metric == "l1":
            return np.stack([np.abs(self._vectors - query).sum(axis=1) for query in queries])
        if self._metric == "cosine":
            queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        products = queries @ self._vectors.T
        if self._squares is None:
            return -products
        return self._squares - 2 * products + np.einsum("qd,qd->q", queries, queries)[:, None]

    def _scores(self, distances: np.ndarray) -> np.ndarray:
        if self._metric == "l2":
            return np.sqrt(np.maximum(distances, 0))
        return distances if self._metric == "l1" else -distances
