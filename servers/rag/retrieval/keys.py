"""Keys of all pairs of a block and a batch, in numpy and float32: quick, and right to within `metrics.margin`."""

import numpy as np

__all__ = ["inverse_lengths", "keys_of", "prepared"]


def prepared(metric: str, queries: np.ndarray) -> np.ndarray:
    """Queries (q, d) f32 as `keys_of` wants them: for cosine of length 1, or zero."""
    if metric != "cosine":
        return queries
    return queries * inverse_lengths(np.einsum("qd,qd->q", queries, queries))[:, None]


def keys_of(metric: str, queries: np.ndarray, rows: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Keys (b, q) f32 of rows (b, d) f32, their squared norms (b,), and prepared queries (q, d).

    Rows first, because BLAS is faster so.
    """
    if metric == "l1":
        keys, differences = np.empty((len(rows), len(queries)), dtype=np.float32), np.empty_like(rows)
        for place, query in enumerate(queries):
            np.abs(np.subtract(rows, query, out=differences), out=differences)
            np.negative(differences.sum(axis=1), out=keys[:, place])
        return keys
    keys = rows @ queries.T
    if metric == "cosine":
        keys *= inverse_lengths(norms)[:, None]
    elif metric == "l2":
        keys *= 2
        keys -= norms[:, None]
        keys -= np.einsum("qd,qd->q", queries, queries)
    return keys


def inverse_lengths(squared: np.ndarray) -> np.ndarray:
    """One over the lengths of vectors with these squared norms; 0 for a zero vector."""
    lengths = np.sqrt(squared)
    return np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
