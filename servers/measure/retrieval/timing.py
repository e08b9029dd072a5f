"""Searches and trainings of k-means timed in turns, one after the other. Chooses no data, checks no answer."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from servers.measure.retrieval.data import Data
from servers.measure.retrieval.job import Contender, Job, Point
from servers.measure.retrieval.reference import PlainIndex
from servers.measure.retrieval.roofline import SETTLED_S, TURN_S, Rates
from servers.rag.retrieval import Place, RetrieverMissing, build
from servers.rag.retrieval.arrays import arrays_for
from servers.rag.retrieval.faiss_backend import library
from servers.rag.retrieval.kmeans import assign, kmeans, unit

Report = Callable[[str], None]
_MOST_CALLS = 500
_ITERATIONS = 20


@dataclass(slots=True)
class Timing:
    """One cell of a job. `run(timing, turn)` measures it once and returns the seconds of a call.

    `status` is ok, skipped (its library or device is missing) or failed, with the reason.
    """

    contender: Contender
    point: Point | None
    run: "Callable[[Timing, int], float]"
    index: Any = None
    build_s: float | None = None
    status: str = "ok"
    reason: str | None = None
    seconds: list[float] = field(default_factory=list)
    spent_s: float = 0.0
    inertias: list[float] = field(default_factory=list)
    iterations: int = 0

    def attempt(self, work: Callable[[], Any]) -> Any:
        """The result of `work`; where it fails, None, and the status says so."""
        try:
            return work()
        except RetrieverMissing as error:  # a RuntimeError too
            self.status, self.reason = "skipped", str(error)
        except (ValueError, MemoryError, RuntimeError) as error:
            self.status, self.reason = "failed", str(error) or "out of memory"
        return None


def time_all(job: Job, timings: Sequence[Timing], rates: Sequence[Rates], report: Report) -> None:
    """A warm-up and then `repeats` turns of every timing, each until its `budget_s` would be exceeded."""
    for turn in range(-1, job.repeats):
        for rate in rates:
            rate.turn()
        for timing in timings:
            if timing.status != "ok" or (turn > 0 and timing.spent_s * (turn + 1) / turn > job.budget_s):
                continue
            batch = f", batch {timing.point.batch}" if timing.point else f", {timing.contender.clusters} clusters"
            report(f"{timing.contender.name}{batch}, {f'turn {turn + 1} of {job.repeats}' if turn >= 0 else 'warm-up'}")
            time.sleep(SETTLED_S)
            began_s = time.perf_counter()
            seconds = timing.attempt(partial(timing.run, timing, turn))
            if turn >= 0 and seconds is not None:
                timing.seconds.append(seconds)
                timing.spent_s += time.perf_counter() - began_s


def searches(job: Job, data: Data, report: Report) -> list[Timing]:
    """A timing per point, those of the same batch next to each other; indexes are built one after the other."""
    timings = []
    for contender in job.contenders:
        report(f"building {contender.name}")
        built = _built(job, contender, data)
        for point in contender.points:
            run = partial(_search_turn, queries=data.queries)
            timings.append(Timing(contender, point, run, built.index, built.build_s, built.status, built.reason))
    return sorted(timings, key=lambda timing: (timing.point.batch, timing.point.k) if timing.point else (0, 0))


def _built(job: Job, contender: Contender, data: Data) -> Timing:
    timing, began_s = Timing(contender, None, lambda *_: 0.0), time.perf_counter()

    def make() -> Any:
        if contender.backend == "plain":
            return PlainIndex(np.asarray(data.vectors), job.metric)
        spec = contender.spec(job.metric, job.seed)
        return build(contender.backend, data.vectors, spec, device=contender.device, threads=job.threads)

    timing.index = timing.attempt(make)
    timing.build_s = time.perf_counter() - began_s
    return timing


def load_libraries(job: Job) -> None:
    """Build and search every contender on four vectors, so that all libraries are imported and compiled."""
    few = np.eye(4, job.d, dtype=np.float32)
    for contender in job.contenders:
        built = _built(job, contender, Data(few, few))
        for batch in (1, len(few)) if built.status == "ok" and contender.points else ():
            built.index.search(few[:batch], 1)


def search(timing: Timing, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids and scores, as Index has them."""
    assert timing.point is not None
    ids, scores = timing.index.search(queries, timing.point.k, **timing.point.settings())
    return ids, scores


def bare_search(timing: Timing, queries: np.ndarray) -> np.ndarray:
    """Ids of the search that is timed: for FAISS its own, without our reranking and order of ties."""
    point = timing.point
    if timing.contender.backend != "faiss" or point is None:
        return search(timing, queries)[0]
    timing.index.configure(nprobe=point.nprobe, ef_search=point.ef_search)
    rerank = point.rerank if timing.contender.index == "ivf_pq" else None
    rows: np.ndarray = timing.index.raw_search(queries, point.k, rerank=rerank)[1]
    return rows


def _search_turn(timing: Timing, turn: int, *, queries: np.ndarray) -> float:
    """Seconds of a call, averaged over a turn."""
    assert timing.point is not None
    began_s = time.perf_counter()
    for calls, batch in enumerate(_batches(queries, timing.point.batch, max(turn, 0)), start=1):
        bare_search(timing, batch)
        took_s = time.perf_counter() - began_s
        if took_s >= TURN_S or calls == _MOST_CALLS or turn < 0:
            break
    return took_s / calls


def _batches(queries: np.ndarray, size: int, turn: int) -> Iterator[np.ndarray]:
    """Batches of the queries without end; each turn starts at another one."""
    batches = len(queries) // size
    for number in count(turn):
        start = number % batches * size
        yield queries[start : start + size]


def trainings(job: Job, vectors: np.ndarray) -> list[Timing]:
    """A timing per contender: training on all vectors, from another seed at each turn."""
    return [Timing(contender, None, partial(_training_turn, job=job, vectors=vectors)) for contender in job.contenders]


def _training_turn(timing: Timing, turn: int, *, job: Job, vectors: np.ndarray) -> float:
    """Seconds of a training. Its inertia is computed by the same code for all."""
    train = _train_faiss if timing.contender.backend == "faiss" else _train_ours
    centroids, timing.iterations, took_s = train(job, timing.contender, vectors, job.seed + max(turn, 0))
    if turn >= 0:
        _, losses = assign(vectors, centroids, metric=job.metric, arrays=arrays_for("numpy"))
        timing.inertias.append(float(losses.sum(dtype=np.float64)))
    return took_s


def _train_ours(job: Job, contender: Contender, vectors: np.ndarray, seed: int) -> tuple[np.ndarray, int, float]:
    """Centroids, number of iterations (it stops where nothing moves), seconds."""
    arrays, began_s = arrays_for(contender.backend, contender.device), time.perf_counter()
    clustering = kmeans(
        vectors,
        contender.clusters or 1,
        rng=np.random.default_rng(seed),
        arrays=arrays,
        metric=job.metric,
        iterations=contender.iterations or _ITERATIONS,
        tolerance=0.0,
        sample=None,
    )
    return clustering.centroids, len(clustering.history), time.perf_counter() - began_s


def _train_faiss(job: Job, contender: Contender, vectors: np.ndarray, seed: int) -> tuple[np.ndarray, int, float]:
    faiss, iterations = library(Place("cpu", job.threads)), contender.iterations or _ITERATIONS
    if job.metric == "cosine":
        vectors = unit(vectors)  # FAISS would weigh them by their lengths
    if job.threads is not None:
        faiss.omp_set_num_threads(job.threads)
    clustering: Any = faiss.Kmeans(
        vectors.shape[1],
        contender.clusters or 1,
        niter=iterations,
        seed=seed + 1,
        spherical=job.metric == "cosine",
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
    )
    began_s = time.perf_counter()
    clustering.train(vectors)
    clustering.assign(vectors)  # as ours does at its end
    return clustering.centroids, iterations, time.perf_counter() - began_s
