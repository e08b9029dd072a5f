"""k-means: k-means++ start, Lloyd's iterations in blocks. Keeps no index.

Sources: Lloyd, Least squares quantization in PCM, 1982; Arthur and Vassilvitskii, k-means++, 2007; for `cosine` Dhillon
and Modha, Concept decompositions for large sparse text data using clustering, 2001.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from servers.rag.retrieval.arrays import Arrays
from servers.rag.retrieval.blas import single_threaded

__all__ = ["KMeans", "assign", "kmeans", "unit"]

_SUMMED = 1 << 22  # floats that are added up in float32 before they go to float64
_START_PRODUCTS = 1 << 31  # multiplications that the start may cost, while it has at least two points a centroid
_START_SAMPLE = 16  # points a centroid that the start looks at, at most


@dataclass(frozen=True, slots=True)
class KMeans:
    """Clusters. centroids (k, d) f32; assignments (n,) i64 and inertia of all the vectors.

    `inertia`: sum of squared distances to the nearest centroid, or for `cosine` of 1 - cosine. `history`: that of the
    points trained on, before each of the `iterations`.
    """

    centroids: np.ndarray
    assignments: np.ndarray
    inertia: float
    iterations: int
    history: tuple[float, ...]


def kmeans(
    vectors: np.ndarray,
    k: int,
    *,
    rng: np.random.Generator,
    arrays: Arrays,
    metric: str = "l2",
    iterations: int = 10,
    tolerance: float = 1e-4,
    sample: int | None = 256,
) -> KMeans:
    """Put vectors (n, d), in memory or mapped from a file, finite, into k clusters.

    Trains on at most `sample` vectors a centroid, drawn without replacement (None: on all); the start on fewer still.
    Stops where inertia falls by no more than `tolerance` of itself. `metric` is l2 or cosine. Raises ValueError where k
    is not in 1..n.
    """
    if metric not in {"l2", "cosine"}:
        raise ValueError(f"metric must be l2 or cosine, got {metric!r}")
    if not 1 <= k <= len(vectors):
        raise ValueError(f"k must be in 1..{len(vectors)}, the number of vectors, got {k}")
    chosen = _drawn(vectors, len(vectors) if sample is None else sample * k, rng)
    origin = chosen.mean(axis=0, dtype=np.float64).astype(np.float32)
    points = _prepared(chosen, metric, origin, arrays)
    centroids, history = _lloyd(points, _start(points, k, rng, arrays), metric, iterations, tolerance, arrays)
    found = arrays.host(centroids) + (origin if metric == "l2" else 0)
    assignments, losses = assign(vectors, found, metric=metric, arrays=arrays)
    return KMeans(found, assignments, float(losses.sum(dtype=np.float64)), len(history), tuple(history))


def assign(vectors: np.ndarray, centroids: np.ndarray, *, metric: str, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of each vector. (n, d), (k, d) -> indices (n,) i64, what each adds to inertia (n,) f32.

    For l2 both are moved so that the centroids' mean is the origin: a product of matrices is precise near it.
    """
    labels, losses = np.empty(len(vectors), dtype=np.int64), np.empty(len(vectors), dtype=np.float32)
    origin = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
    columns = _columns(_prepared(centroids, metric, origin, arrays), metric, arrays)

    def block(part: slice) -> None:
        points = _prepared(np.asarray(vectors[part], dtype=np.float32), metric, origin, arrays)
        labels[part], losses[part] = _nearest_of_block(points, columns, metric, arrays)

    arrays.each(block, _blocks(len(vectors), arrays.block // max(centroids.shape)))
    return labels, np.maximum(losses, 0)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows (n, d) f32 at length 1; rows of zeros stay."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    return rows / np.where(lengths > 0, lengths, 1)[:, None]


def _lloyd(
    points: Any, centroids: Any, metric: str, iterations: int, tolerance: float, arrays: Arrays
) -> tuple[Any, list[float]]:
    """Centroids after the iterations, and the inertia before each."""
    history: list[float] = []
    for _ in range(iterations):
        labels, losses = _nearest(points, centroids, metric, arrays)
        counts = np.bincount(labels, minlength=len(centroids))
        empty = np.flatnonzero(counts == 0)
        farthest = _farthest(losses, len(empty))
        history.append(float(losses.sum(dtype=np.float64)))
        centroids = _means(points, labels, counts, centroids, metric, arrays)
        if len(farthest):
            centroids[arrays.put(empty[: len(farthest)])] = points[arrays.put(farthest)]
        elif len(history) > 1 and history[-2] - history[-1] <= tolerance * history[-2]:
            break
    return centroids, history


def _nearest(points: Any, centroids: Any, metric: str, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Index of the nearest centroid, and the loss, of each point on the device. Of equal ones the first."""
    labels, losses = np.empty(len(points), dtype=np.int64), np.empty(len(points), dtype=np.float32)
    columns = _columns(centroids, metric, arrays)

    def block(part: slice) -> None:
        labels[part], losses[part] = _nearest_of_block(points[part], columns, metric, arrays)

    arrays.each(block, _blocks(len(points), arrays.block // max(centroids.shape)))
    return labels, np.maximum(losses, 0)


def _nearest_of_block(rows: Any, columns: Any, metric: str, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """The same for few enough points that their keys to all centroids fit; a loss may be a rounding below zero."""
    xp = arrays.xp
    keys = (xp.concat([rows, xp.ones_like(rows[:, :1])], axis=1) if metric == "l2" else rows) @ columns
    best = xp.argmax(keys, axis=1)
    key = xp.take_along_axis(keys, best[:, None], axis=1)[:, 0]
    loss = xp.sum(rows * rows, axis=1) - 2 * key if metric == "l2" else 1 - key
    return arrays.host(best), arrays.host(loss)


def _columns(centroids: Any, metric: str, arrays: Arrays) -> Any:
    """What a point's key to each centroid is its product with; for l2 a point with a one at its end.

    Of points at one place the nearest centroid c has the largest p . c - |c|^2 / 2.
    """
    if metric == "cosine":
        return centroids.T
    xp = arrays.xp
    return xp.concat([centroids, -0.5 * xp.sum(centroids * centroids, axis=1)[:, None]], axis=1).T


def _means(points: Any, labels: np.ndarray, counts: np.ndarray, before: Any, metric: str, arrays: Arrays) -> Any:
    """Mean of each cluster, of length 1 for cosine; an empty cluster, or one whose sum is zero, keeps its centroid.

    Blocks are added up in float64.
    """
    xp, total = arrays.xp, arrays.zeros(*before.shape, dtype="float64")
    for part in _blocks(len(points), _SUMMED // points.shape[1]):
        total += arrays.sums(points[part], arrays.put(labels[part]), len(before))
    lengths = xp.sqrt(xp.sum(total * total, axis=1)) if metric == "cosine" else arrays.put(counts.astype(np.float64))
    means = total / xp.where(lengths > 0, lengths, xp.ones_like(lengths))[:, None]
    return xp.where((lengths > 0)[:, None], xp.astype(means, xp.float32), before)


def _farthest(losses: np.ndarray, count: int) -> np.ndarray:
    """The points that cost most, where empty clusters go: inertia falls by what they cost. None that costs nothing."""
    if not count:
        return np.empty(0, dtype=np.int64)
    places = np.argsort(-losses, kind="stable")[:count]
    return places[losses[places] > 0]


def _start(points: Any, k: int, rng: np.random.Generator, arrays: Arrays) -> Any:
    """k-means++: each next centroid is a point, drawn in proportion to its squared distance from those before.

    Looks at a sample, so that many centroids stay cheap: 16 points a centroid, fewer where that costs more than
    _START_PRODUCTS, but not under 2.
    """
    xp = arrays.xp
    affordable = max(2, min(_START_SAMPLE, _START_PRODUCTS // (k * k * points.shape[1])))
    if affordable * k < len(points):
        points = points[arrays.put(np.sort(rng.choice(len(points), affordable * k, replace=False)))]
    norms = xp.sum(points * points, axis=1)
    place = arrays.put(rng.integers(len(points), size=1))
    chosen, nearest = [place], None
    with single_threaded() if arrays.library == "numpy" else nullcontext():
        for draw in rng.random(k - 1):
            distances = norms + norms[place] - 2 * (points @ points[place][0])
            nearest = distances if nearest is None else xp.minimum(nearest, distances)
            reached = xp.cumulative_sum(xp.clip(nearest, 0, None), dtype=xp.float64)
            place = xp.clip(xp.searchsorted(reached, reached[-1:] * float(draw), side="right"), 0, len(points) - 1)
            chosen.append(place)
    return points[xp.concat(chosen)]


def _drawn(vectors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most so many of the vectors, (m, d) f32, in their order."""
    if count < len(vectors):
        vectors = vectors[np.sort(rng.choice(len(vectors), count, replace=False))]
    return np.asarray(vectors, dtype=np.float32)


def _prepared(rows: np.ndarray, metric: str, origin: np.ndarray, arrays: Arrays) -> Any:
    """Rows on the device: as seen from the origin, or for cosine at length 1."""
    return arrays.put(rows - origin if metric == "l2" else unit(rows))


def _blocks(count: int, rows: int) -> Iterator[slice]:
    """Slices of so many rows, but not under 256: a product of fewer is slow."""
    rows = max(256, rows)
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
