"""Each metric of a query and a vector in float64, and the largest error of a fast sum. Searches nothing.

Inside, every metric is a *key*, of which larger is nearer: the similarity, minus the distance, or, for `l2`, minus its
square. What a search returns is the *score*: the similarity or the distance.
"""

from collections.abc import Iterator

import numpy as np

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


def checked_queries(queries: np.ndarray, dimensions: int, k: int) -> np.ndarray:
    """`queries` as (q, d) f32, contiguous. Raises ValueError where they or k are invalid."""
    if k < 0:
        raise ValueError(f"k must be >= 0, got {k}")
    if queries.ndim != 2 or queries.shape[1] != dimensions:
        raise ValueError(f"queries must be rows of {dimensions} numbers, got shape {queries.shape}")
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if not np.isfinite(queries).all():
        raise ValueError("queries must be finite, got NaN or infinity")
    return queries


def squared_norms(vectors: np.ndarray) -> np.ndarray:
    """Of each row, (n,) f32, added up in f64. Raises ValueError at NaN, infinity, and norms above 1e18, too large."""
    found = np.empty(len(vectors), dtype=np.float32)
    for part in _parts(len(vectors), vectors.shape[1]):
        rows = np.asarray(vectors[part], dtype=np.float64)
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
    """Scores f32 of these keys."""
    if metric == "l2":
        return np.sqrt(np.maximum(-keys, 0)).astype(np.float32)
    return (-keys if metric == "l1" else keys).astype(np.float32)


def ranked(
    metric: str, of: np.ndarray, ids: np.ndarray, keys: np.ndarray, *, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each query: ids and scores of `shape` (q, k), from pairs of (c,) queries, ids and keys.

    Best first, by score as it is returned in float32; ties by lowest id. Id -1 and the worst score where there are
    fewer than k.
    """
    best, found = np.full(shape, -1, dtype=np.int64), scores(metric, np.full(shape, -np.inf))
    shown = scores(metric, keys)
    order = np.lexsort((ids, shown if metric in {"l1", "l2"} else -shown, of))
    of = of[order]
    rank = np.arange(len(of)) - np.searchsorted(of, of)
    order, of, rank = (part[rank < shape[1]] for part in (order, of, rank))
    best[of, rank], found[of, rank] = ids[order], shown[order]
    return best, found


def margin(
    metric: str, *, dtype: str, halves: int, dimensions: int, query_norms: np.ndarray, largest_norm: float | np.ndarray
) -> np.ndarray:
    """The largest error of a key that a scan computes, (q,) f32; for l2 of half the key.

    The scan's sums are of products in float32, or for l1 of differences; norms are rounded once. BLAS adds up blocks of
    at most 1,024, in lanes, then the blocks; other loops add in eight lanes. In a half precision `dtype` both inputs
    are rounded once more, and `halves` is how often a sum is, or a part of it.
    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 4.2.
    """
    relative = (min(dimensions, 1024 + dimensions // 8) + 16) * _UNIT["float32"]
    if dtype != "float32":
        relative += (2 + halves) * _UNIT[dtype]
    if metric == "cosine":
        found = np.full(len(query_norms), relative)
    elif metric == "ip":
        found = relative * query_norms * largest_norm
    elif metric == "l2":
        found = relative * query_norms * largest_norm + 4 * _UNIT["float32"] * (query_norms + largest_norm) ** 2
    else:
        found = relative * (query_norms + largest_norm) * dimensions**0.5
    return found.astype(np.float32)


def _parts(count: int, dimensions: int) -> Iterator[slice]:
    """Slices of rows that take at most _CHUNK_BYTES in float64."""
    rows = max(1, _CHUNK_BYTES // (8 * dimensions))
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
