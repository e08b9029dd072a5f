"""k-means timed: ours on each array library, and FAISS's, on the same vectors, in turns. Searches nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from servers.measure.retrieval.job import Contender, Job
from servers.measure.retrieval.rates import Rates
from servers.rag.retrieval import Place, RetrieverMissing
from servers.rag.retrieval.arrays import arrays_for
from servers.rag.retrieval.faiss_backend import library
from servers.rag.retrieval.kmeans import assign, kmeans, unit

__all__ = ["Clustering", "clusterings"]

Tell = Callable[[str], None]
_ITERATIONS = 20


@dataclass(slots=True)
class Clustering:
    """A contender's trainings: seconds and inertia of each, over all the vectors."""

    contender: Contender
    train_s: list[float] = field(default_factory=list)
    inertias: list[float] = field(default_factory=list)
    iterations: int = 0
    status: str = "ok"
    reason: str | None = None


def clusterings(job: Job, vectors: np.ndarray, rates: dict[str, Rates], tell: Tell) -> list[Clustering]:
    """Every contender trains on all the vectors, `repeats` times in turns, from seeds of its own each time."""
    found = [Clustering(contender) for contender in job.contenders]
    for turn in range(-1, job.repeats):  # the first one warms up, and is not kept
        for rate in rates.values():
            rate.turn()
        for one in found:
            is_over = sum(one.train_s) * (turn + 1) > job.budget_s * max(1, turn)
            if one.status != "ok" or (turn > 0 and is_over):
                continue
            tell(f"{one.contender.clusters} clusters, {one.contender.name}, turn {turn + 1} of {job.repeats}")
            try:
                centroids, one.iterations, took_s = _trained(job, one.contender, vectors, job.seed + max(turn, 0))
            except RetrieverMissing as error:  # a RuntimeError too
                one.status, one.reason = "skipped", str(error)
            except (ValueError, MemoryError, RuntimeError) as error:
                one.status, one.reason = "failed", str(error) or "out of memory"
            else:
                if turn >= 0:
                    one.train_s.append(took_s)
                    one.inertias.append(_inertia(job.metric, vectors, centroids))
    return found


def _trained(job: Job, contender: Contender, vectors: np.ndarray, seed: int) -> tuple[np.ndarray, int, float]:
    """Centroids, how many iterations they took (ours stop where nothing moves), and how many seconds."""
    clusters, iterations = contender.clusters or 1, contender.iterations or _ITERATIONS
    if contender.backend == "faiss":
        return _faiss(job, vectors, clusters, iterations, seed)
    arrays = arrays_for(contender.backend, contender.device)
    began_s = time.perf_counter()
    found = kmeans(
        vectors,
        clusters,
        rng=np.random.default_rng(seed),
        arrays=arrays,
        metric=job.metric,
        iterations=iterations,
        tolerance=0.0,
        sample=None,
    )
    return found.centroids, len(found.history), time.perf_counter() - began_s


def _faiss(job: Job, vectors: np.ndarray, clusters: int, iterations: int, seed: int) -> tuple[np.ndarray, int, float]:
    faiss = library(Place("cpu", job.threads))
    if job.metric == "cosine":
        vectors = unit(vectors)  # it would weigh them by their lengths
    if job.threads is not None:
        faiss.omp_set_num_threads(job.threads)
    d = vectors.shape[1]
    made: Any = faiss.Kmeans(
        d,
        clusters,
        niter=iterations,
        seed=seed + 1,
        spherical=job.metric == "cosine",
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
    )
    began_s = time.perf_counter()
    made.train(vectors)
    made.assign(vectors)  # ours ends with it too
    return made.centroids, iterations, time.perf_counter() - began_s


def _inertia(metric: str, vectors: np.ndarray, centroids: np.ndarray) -> float:
    """By one measure for all."""
    _, losses = assign(vectors, centroids, metric=metric, arrays=arrays_for("numpy"))
    return float(losses.sum(dtype=np.float64))
