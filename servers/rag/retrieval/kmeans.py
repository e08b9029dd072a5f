"""k-means: k-means++ start, Lloyd's iterations in blocks. Keeps no index.

Sources: Lloyd, Least squares quantization in PCM, 1982; Arthur and Vassilvitskii, k-means++, 2007; for `cosine` Dhillon
and Modha, Concept decompositions for large sparse text data using clustering, 2001.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from servers.rag.retrieval.arrays import Arrays, single_threaded
from servers.rag.retrieval.scan import slices

_SUMMED = 1 << 22  # floats that are added up in float32 before they go to float64
_BLOCK = {"numpy": 1 << 19, "torch": 1 << 22, "cupy": 1 << 22}  # floats of a block: a cache, or to keep a device busy
_START_PRODUCTS = 1 << 31  # multiplications that the start may cost, while it has at least two points a centroid
_START_SAMPLE = 16  # points a centroid that the start looks at, at most


@dataclass(frozen=True, slots=True)
class KMeans:
    """Clusters. centroids (k, d) f32; assignments (n,) i64 and inertia of all the vectors.

    `inertia`: sum of squared distances to the nearest centroid, or for `cosine` of 1 - cosine. `history`: that of the
    points trained on, before each iteration.
    """

    centroids: np.ndarray
    assignments: np.ndarray
    inertia: float
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
    chosen = vectors
    if sample is not None and sample * k < len(vectors):
        chosen = vectors[np.sort(rng.choice(len(vectors), sample * k, replace=False))]
    chosen = np.asarray(chosen, dtype=np.float32)
    origin = chosen.mean(axis=0, dtype=np.float64).astype(np.float32)
    points = arrays.put(_seen(chosen, metric, origin))
    centroids, history = _start(points, k, rng, arrays), list[float]()
    for _ in range(iterations):
        labels, losses = _nearest(points, centroids, metric, arrays)
        counts = np.bincount(labels, minlength=k)
        empty = np.flatnonzero(counts == 0)
        history.append(float(losses.sum(dtype=np.float64)))
        centroids = _means(points, labels, counts, centroids, metric, arrays)
        # An empty cluster goes to the point that costs most, if it costs anything: inertia falls by that.
        farthest = np.argsort(-losses, kind="stable")[: len(empty)]
        farthest = farthest[losses[farthest] > 0]
        if len(farthest):
            centroids[arrays.put(empty[: len(farthest)])] = points[arrays.put(farthest)]
        elif len(history) > 1 and history[-2] - history[-1] <= tolerance * history[-2]:
            break
    found = arrays.host(centroids) + (origin if metric == "l2" else 0)
    assignments, losses = assign(vectors, found, metric=metric, arrays=arrays)
    return KMeans(found, assignments, float(losses.sum(dtype=np.float64)), tuple(history))


def assign(vectors: np.ndarray, centroids: np.ndarray, *, metric: str, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of each vector. (n, d), (k, d) -> indices (n,) i64, what each adds to inertia (n,) f32.

    For l2 both are moved so that the centroids' mean is the origin: a product of matrices is precise near it.
    """
    origin = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
    labels, losses = np.empty(len(vectors), dtype=np.int64), np.empty(len(vectors), dtype=np.float32)
    there = arrays.put(_seen(centroids, metric, origin))
    for part in slices(len(vectors), _SUMMED // vectors.shape[1]):
        points = arrays.put(_seen(np.asarray(vectors[part], dtype=np.float32), metric, origin))
        labels[part], losses[part] = _nearest(points, there, metric, arrays)
    return labels, losses


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows (n, d) f32 at length 1; rows of zeros stay."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    return rows / np.where(lengths > 0, lengths, 1)[:, None]


def _seen(rows: np.ndarray, metric: str, origin: np.ndarray) -> np.ndarray:
    """Rows as seen from the origin, or for cosine at length 1."""
    return rows - origin if metric == "l2" else unit(rows)


def _nearest(points: Any, centroids: Any, metric: str, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Index of the nearest centroid, and the loss, of each point on the device. Of equal ones the first.

    Of points at one place the nearest centroid c has the largest p . c - |c|^2 / 2: for l2 a product with a further
    column, of ones.
    """
    xp, columns = arrays.xp, centroids
    if metric == "l2":
        columns = xp.concat([centroids, -0.5 * xp.sum(centroids * centroids, axis=1)[:, None]], axis=1)
    labels, losses = np.empty(len(points), dtype=np.int64), np.empty(len(points), dtype=np.float32)

    def block(part: slice) -> None:
        rows = points[part]
        keys = (xp.concat([rows, xp.ones_like(rows[:, :1])], axis=1) if metric == "l2" else rows) @ columns.T
        best = xp.argmax(keys, axis=1)
        key = xp.take_along_axis(keys, best[:, None], axis=1)[:, 0]
        loss = xp.sum(rows * rows, axis=1) - 2 * key if metric == "l2" else 1 - key
        labels[part], losses[part] = arrays.host(best), arrays.host(loss)

    arrays.map(block, slices(len(points), max(256, _BLOCK[arrays.library] // max(centroids.shape))))
    return labels, np.maximum(losses, 0)  # a loss may be a rounding below zero


def _means(points: Any, labels: np.ndarray, counts: np.ndarray, before: Any, metric: str, arrays: Arrays) -> Any:
    """Mean of each cluster, of length 1 for cosine; an empty cluster, or one whose sum is zero, keeps its centroid.

    Blocks are added up in float64.
    """
    xp, total = arrays.xp, arrays.put(np.zeros(before.shape))
    for part in slices(len(points), _SUMMED // points.shape[1]):
        total += arrays.sums(points[part], arrays.put(labels[part]), len(before))
    lengths = xp.sqrt(xp.sum(total * total, axis=1)) if metric == "cosine" else arrays.put(counts.astype(np.float64))
    means = total / xp.where(lengths > 0, lengths, xp.ones_like(lengths))[:, None]
    return xp.where((lengths > 0)[:, None], xp.astype(means, xp.float32), before)


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
