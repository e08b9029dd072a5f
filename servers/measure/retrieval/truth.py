"""What is right: the exact neighbours, by another way than any backend's. Times nothing."""

import numpy as np

from servers.rag.retrieval import Spec, blocks, build
from servers.rag.retrieval.scan import slices

__all__ = ["brute_force", "exact", "recall", "relative_error"]

_ROWS_BYTES = 1 << 26


def brute_force(metric: str, vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """In float64, block by block. -> ids (q, k) i64, scores (q, k) f64, best first."""
    asked, distances, ids = queries.astype(np.float64), [], []
    parts = slices(len(vectors), _ROWS_BYTES // (8 * vectors.shape[1]))
    for part, block in blocks.stream(vectors, iter(parts)):
        rows = block.astype(np.float64)
        found = _distances(metric, asked, rows)
        near = np.argpartition(found, min(k, len(rows)) - 1, axis=1)[:, :k]
        distances.append(np.take_along_axis(found, near, axis=1))
        ids.append(near + part.start)
    joined, of = np.concatenate(distances, axis=1), np.concatenate(ids, axis=1)
    order = np.lexsort((of, joined), axis=1)[:, :k]
    best = np.take_along_axis(joined, order, axis=1)
    return np.take_along_axis(of, order, axis=1), best if metric in {"l1", "l2"} else -best


def _distances(metric: str, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if metric in {"l1", "l2"}:
        order = 1 if metric == "l1" else 2
        return np.stack([np.linalg.norm(rows - query, ord=order, axis=1) for query in queries])
    if metric == "cosine":
        queries, rows = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (queries, rows))
    return -(queries @ rows.T)


def exact(metric: str, vectors: np.ndarray, queries: np.ndarray, k: int, *, threads: int | None) -> np.ndarray:
    """Ids (q, k) by our exact search, which the tests hold to float64: `brute_force` takes long for many queries."""
    return build("numba", vectors, Spec(metric=metric), threads=threads).search(queries, k)[0]


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the wanted ids that were found, over all queries."""
    hits = sum(len(np.intersect1d(one, other)) for one, other in zip(found, wanted, strict=True))
    return hits / max(1, wanted.size)


def relative_error(scores: np.ndarray, wanted: np.ndarray) -> float:
    """The largest, of scores that are compared place by place."""
    return float((np.abs(scores - wanted) / np.maximum(np.abs(wanted), 1e-12)).max(initial=0.0))
