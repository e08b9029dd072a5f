"""What each metric says of a query and a vector, to the last bit, and how far a fast sum may be from it.

Searches nothing. Inside, every metric is a *key*, of which larger is nearer: the similarity itself, minus the distance,
or, for `l2`, minus its square. What a search returns is the *score*: the similarity or the distance.
"""

from collections.abc import Iterator

import numpy as np

from servers.rag.retrieval.spec import Spec

__all__ = ["checked_queries", "checked_vectors", "error_terms", "exact_keys", "margin", "scores", "squared_norms"]

_CHUNK_BYTES = 1 << 18  # of float64: they stay in the second cache
_LARGEST_SQUARE = 1e36
_UNIT = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def checked_vectors(vectors: np.ndarray) -> np.ndarray:
    """`vectors` as rows (n, d) of float32 or float16, contiguous; a file mapped to memory stays one.

    Raises ValueError for another shape. Whether they are finite is seen by `squared_norms`.
    """
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise ValueError(f"vectors must be rows (n, d) with d >= 1, got shape {vectors.shape}")
    if vectors.dtype in (np.float32, np.float16) and vectors.flags.c_contiguous:
        return vectors
    return np.ascontiguousarray(vectors, dtype=np.float16 if vectors.dtype == np.float16 else np.float32)


def checked_queries(queries: np.ndarray, dimensions: int) -> np.ndarray:
    """`queries` as (q, d) f32, contiguous. Raises ValueError where they are not finite or of other dimensions."""
    if queries.ndim != 2 or queries.shape[1] != dimensions:
        raise ValueError(f"queries must be rows of {dimensions} numbers, got shape {queries.shape}")
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if not np.isfinite(queries).all():
        raise ValueError("queries must be finite, got NaN or infinity")
    return queries


def squared_norms(vectors: np.ndarray) -> np.ndarray:
    """Of each row, (n,) f32. Raises ValueError at NaN, infinity, and norms above 1e18, too large to square and add."""
    found = np.empty(len(vectors), dtype=np.float32)
    for part in _parts(len(vectors), vectors.shape[1]):
        rows = np.asarray(vectors[part], dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            found[part] = np.einsum("nd,nd->n", rows, rows)
    is_sound = found <= _LARGEST_SQUARE
    if not is_sound.all():
        raise ValueError(f"vectors must be finite, of norms up to 1e18; row {int(np.argmin(is_sound))} is not")
    return found


def exact_keys(metric: str, queries: np.ndarray, of: np.ndarray, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Keys (c,) f64 of the pairs queries[of] and vectors[rows]; of (c,) i64, rows (c,) i64.

    queries (q, d), vectors (n, d). Equal vectors get equal keys.
    """
    keys = np.empty(len(rows))
    for part in _parts(len(rows), queries.shape[1]):
        a, b = queries[of[part]].astype(np.float64), vectors[rows[part]].astype(np.float64)
        if metric == "l1":
            keys[part] = -np.abs(a - b).sum(axis=1)
        elif metric == "l2":
            a -= b
            keys[part] = -np.einsum("cd,cd->c", a, a)
        else:
            keys[part] = np.einsum("cd,cd->c", a, b)
            if metric == "cosine":
                length = np.sqrt(np.einsum("cd,cd->c", a, a) * np.einsum("cd,cd->c", b, b))
                keys[part] = np.divide(keys[part], length, out=np.zeros(len(a)), where=length > 0)
    return keys


def scores(metric: str, keys: np.ndarray) -> np.ndarray:
    """What a search returns for these keys, f32."""
    if metric == "l2":
        return np.sqrt(np.maximum(-keys, 0)).astype(np.float32)
    return (-keys if metric == "l1" else keys).astype(np.float32)


def error_terms(dimensions: int) -> int:
    """How many roundings may add up in a product of so many numbers, as BLAS makes it.

    In order it would be `dimensions`; BLAS adds up blocks of at most 1,024, in lanes, and then the blocks.
    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 4.2.
    """
    return min(dimensions, 1024 + dimensions // 256) + 4


def margin(
    at: np.ndarray,
    *,
    spec: Spec,
    dimensions: int,
    terms: int,
    query_norms: np.ndarray,
    largest_norm: float,
    is_direct: bool,
) -> np.ndarray:
    """How far a key that was computed in the spec's dtype may be from the exact one, near the keys `at`, (q,) f64.

    `terms`: roundings that may add up in a sum. `is_direct`: sums of differences, whose error is in proportion to the
    sum; otherwise a product of matrices, whose error is in proportion to the norms. In half precision inputs and
    result are rounded once more.
    """
    summed = terms * _UNIT["float32"]
    metric, rounded = spec.metric, 0.0 if spec.dtype == "float32" else 3 * _UNIT[spec.dtype]
    together = query_norms.astype(np.float64) + largest_norm
    if metric == "cosine":
        return np.full(len(query_norms), summed + rounded)
    if metric == "ip":
        return (summed + rounded) * query_norms * largest_norm
    if is_direct and spec.dtype == "float32":
        return 2 * summed * np.abs(np.where(np.isfinite(at), at, 0.0))
    if metric == "l2":
        return (2 * summed + rounded) * together**2
    return (summed + rounded) * together * dimensions**0.5


def _parts(count: int, dimensions: int) -> Iterator[slice]:
    """Slices of rows that take at most _CHUNK_BYTES in float64."""
    rows = max(1, _CHUNK_BYTES // (8 * dimensions))
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
