"""What backends are compared with: plain numpy for speed, float64 for correctness. Times nothing."""

import numpy as np

from servers.rag.retrieval import blocks
from servers.rag.retrieval.scan import slices

_ROWS_BYTES = 1 << 26


class PlainIndex:
    """Straightforward numpy: one matrix of all distances. The order of ties is undefined."""

    def __init__(self, vectors: np.ndarray, metric: str) -> None:
        self._metric = metric
        self._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if metric == "cosine" else vectors
        self._squares = np.einsum("nd,nd->n", vectors, vectors) if metric == "l2" else np.empty(0)

    @property
    def nbytes(self) -> int:
        """Bytes of vectors and norms."""
        return self._vectors.nbytes + self._squares.nbytes

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Queries (q, d) -> ids (q, k), scores (q, k), best first."""
        distances = self._distances(queries)
        ids = np.argpartition(distances, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(distances, ids, axis=1)
        order = np.argsort(near, axis=1)
        ids, near = np.take_along_axis(ids, order, axis=1), np.take_along_axis(near, order, axis=1)
        if self._metric == "l2":
            return ids, np.sqrt(np.maximum(near, 0))
        return ids, near if self._metric == "l1" else -near

    def _distances(self, queries: np.ndarray) -> np.ndarray:
        """(q, n), smaller is nearer."""
        if self._metric == "l1":
            return np.stack([np.abs(self._vectors - query).sum(axis=1) for query in queries])
        if self._metric == "cosine":
            queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        products: np.ndarray = queries @ self._vectors.T
        if self._metric == "l2":
            return self._squares - 2 * products + np.einsum("qd,qd->q", queries, queries)[:, None]
        return -products


def brute_force(metric: str, vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """In float64, block by block. -> ids (q, k) i64, scores (q, k) f64, best first."""
    queries, distances, ids = queries.astype(np.float64), [], []
    parts = slices(len(vectors), _ROWS_BYTES // (8 * vectors.shape[1]))
    for part, block in blocks.stream(vectors, iter(parts)):
        block_distances = _distances(metric, queries, block.astype(np.float64))
        near = np.argpartition(block_distances, min(k, len(block)) - 1, axis=1)[:, :k]
        distances.append(np.take_along_axis(block_distances, near, axis=1))
        ids.append(near + part.start)
    all_distances, all_ids = np.concatenate(distances, axis=1), np.concatenate(ids, axis=1)
    order = np.lexsort((all_ids, all_distances), axis=1)[:, :k]
    best = np.take_along_axis(all_distances, order, axis=1)
    return np.take_along_axis(all_ids, order, axis=1), best if metric in {"l1", "l2"} else -best


def _distances(metric: str, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if metric in {"l1", "l2"}:
        order = 1 if metric == "l1" else 2
        return np.stack([np.linalg.norm(rows - query, ord=order, axis=1) for query in queries])
    if metric == "cosine":
        queries, rows = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (queries, rows))
    return -(queries @ rows.T)


def recall(ids: np.ndarray, exact_ids: np.ndarray) -> float:
    """Share of the exact ids (q, k) that are among `ids` (q, k), over all queries."""
    hits = sum(len(np.intersect1d(row, exact)) for row, exact in zip(ids, exact_ids, strict=True))
    return hits / max(1, exact_ids.size)
