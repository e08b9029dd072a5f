"""A job to its rows: data, contenders in turns, what is right, the roofline of each. The order of the work."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np

from servers.measure.retrieval import clusterings, searches, truth, work
from servers.measure.retrieval.data import Data, prepared
from servers.measure.retrieval.job import Job, Point
from servers.measure.retrieval.rates import Rates
from servers.rag.retrieval import Place

__all__ = ["measured"]

Row = dict[str, Any]
_CHECKED = 8  # queries whose scores are compared to float64
_SAMPLED = 256  # queries whose neighbours are looked up where all would take long
_WORTH = 1 << 33  # numbers that are compared at most to know what is right for every query


def measured(job: Job, tell: Callable[[str], None]) -> Iterator[Row]:
    """A row for each cell of the job. Raises JobError."""
    if not any(_is_there(contender.device) for contender in job.contenders):
        yield from _skipped(job)
        return
    tell(f"making {job.n} x {job.d} vectors, {job.data}")
    with prepared(job) as data:
        threads = Place(threads=job.threads).workers
        devices = {(one.device, one.dtype if one.device == "cuda" else "float32") for one in job.contenders}
        rates = {
            f"{device} {dtype}": Rates(device, threads, dtype) for device, dtype in sorted(devices) if _is_there(device)
        }
        yield from (_clustered if job.task == "kmeans" else _searched)(job, data, rates, tell)


def _skipped(job: Job) -> Iterator[Row]:
    """Rows of a job that nobody here can take part in: no vectors need to be made to say so."""
    for contender in job.contenders:
        for point in contender.points or (None,):
            absent = _absent() | {"status": "skipped", "reason": f"no {contender.device} device is there"}
            yield job.cell(contender, point) | absent


def _is_there(device: str) -> bool:
    if device == "cpu":
        return True
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()


def _searched(job: Job, data: Data, rates: dict[str, Rates], tell: Callable[[str], None]) -> Iterator[Row]:
    entered = searches.entrants(job, data, tell)
    timed = searches.times(job, entered, data, rates, tell)
    peak = {"peak_mib": searches.peak_mib()}
    tell("looking up what is right")
    right = _Right(job, data)
    for entrant in entered:
        for point in entrant.contender.points:
            row = job.cell(entrant.contender, point)
            mine = [one for one in timed if one.entrant is entrant and one.point is point]
            if entrant.status != "ok" or not mine:
                yield row | _absent() | {"status": entrant.status, "reason": entrant.reason}
                continue
            lists = entrant.index.spec.lists(job.n) if entrant.contender.index in {"ivf", "ivf_pq"} else None
            needs = work.of_search(job, entrant.contender, point, lists)
            row |= _absent() | {
                "status": "ok",
                "build_s": entrant.build_s,
                "index_mib": entrant.index.nbytes / (1 << 20),
            }
            row |= peak | _told(mine[0].search_s) | _roofline(needs, mine[0].median_s, _rate(rates, entrant.contender))
            yield row | {"queries_per_s": point.batch / mine[0].median_s} | right.of(entrant, point)


class _Right:
    """Recall and error of a point, by answers that are looked up once for each k."""

    def __init__(self, job: Job, data: Data) -> None:
        self._job, self._data = job, data
        self._scores: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._ids: dict[int, np.ndarray] = {}

    def of(self, entrant: searches.Entrant, point: Point) -> Row:
        """`recall_at_k`, and for exact search `max_relative_error`."""
        k, queries = min(point.k, self._job.n), self._data.queries
        is_exact = entrant.contender.index == "flat"
        if is_exact:
            queries = queries[:_CHECKED]
        elif len(queries) * self._job.n * self._job.d > _WORTH:
            queries = queries[:_SAMPLED]
        found: Row = {}
        if is_exact:
            ids, scores = entrant.search(queries, point)
            wanted_ids, wanted = self._brute_force(k)
            found["max_relative_error"] = truth.relative_error(scores, wanted)
        else:
            _, ids = entrant.bare(queries, point)
            wanted_ids = self._exact(k, len(queries))
        return found | {"recall_at_k": truth.recall(ids, wanted_ids)}

    def _brute_force(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        if k not in self._scores:
            job, data = self._job, self._data
            self._scores[k] = truth.brute_force(job.metric, data.vectors, data.queries[:_CHECKED], k)
        return self._scores[k]

    def _exact(self, k: int, count: int) -> np.ndarray:
        if k not in self._ids:
            job, data = self._job, self._data
            self._ids[k] = truth.exact(job.metric, data.vectors, data.queries[:count], k, threads=job.threads)
        return self._ids[k]


def _clustered(job: Job, data: Data, rates: dict[str, Rates], tell: Callable[[str], None]) -> Iterator[Row]:
    for one in clusterings.clusterings(job, data.vectors, rates, tell):
        row = job.cell(one.contender, None) | _absent() | {"status": one.status, "reason": one.reason}
        if one.status == "ok":
            needs = work.of_kmeans(job, one.contender.clusters or 1, one.iterations)
            row |= _told(one.train_s) | _roofline(needs, median(one.train_s), _rate(rates, one.contender))
            row |= {"inertia": median(one.inertias), "peak_mib": searches.peak_mib()}
        yield row


def _rate(rates: dict[str, Rates], contender: Any) -> Rates:
    return rates[f"{contender.device} {contender.dtype if contender.device == 'cuda' else 'float32'}"]


def _told(seconds: Sequence[float]) -> Row:
    times = {"search_s": median(seconds), "search_min_s": min(seconds), "search_max_s": max(seconds)}
    return {"repeats": len(seconds), **times}


def _roofline(needs: tuple[float, float] | None, took_s: float, rates: Rates) -> Row:
    if needs is None:
        return {}
    moved, operations = needs
    floor_s = max(moved / rates.bytes_per_s, operations / rates.flops_per_s)
    return {"bytes_moved": moved, "flops": operations, "floor_s": floor_s, "of_roofline": floor_s / took_s}


def _absent() -> Row:
    names = (
        *("status", "reason", "repeats", "build_s", "search_s", "search_min_s", "search_max_s", "queries_per_s"),
        *("bytes_moved", "flops", "floor_s", "of_roofline", "recall_at_k", "max_relative_error"),
        *("index_mib", "peak_mib", "inertia"),
    )
    return dict.fromkeys(names)
