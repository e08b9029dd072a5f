"""A job to its rows: make the data, time all cells, check the answers, compute each cell's share of the roofline."""

import resource
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from servers.measure.retrieval.data import Data, prepared
from servers.measure.retrieval.job import Contender, Job
from servers.measure.retrieval.reference import brute_force, recall
from servers.measure.retrieval.roofline import Rates, kmeans_work, search_work
from servers.measure.retrieval.timing import Report, Timing, bare_search, search, searches, time_all, trainings
from servers.rag.retrieval import Place, Spec, build

Row = dict[str, Any]
_CHECKED = 8  # queries whose scores are compared to float64
_SAMPLED = 256  # queries whose neighbours are looked up where all would take long
_MOST_COMPARED = 1 << 33  # numbers that the lookup of all queries' neighbours may read
_MEASURED = (
    *("status", "reason", "repeats", "build_s", "search_s", "search_min_s", "search_max_s", "queries_per_s"),
    *("bytes_moved", "flops", "floor_s", "of_roofline", "recall_at_k", "max_relative_error"),
    *("index_mib", "peak_mib", "inertia"),
)


def measured(job: Job, report: Report) -> Iterator[Row]:
    """A row for each cell of the job. Raises JobError."""
    absent: Row = dict.fromkeys(_MEASURED)
    if not any(_is_present(contender.device) for contender in job.contenders):  # no vectors are needed to say so
        for contender in job.contenders:
            for point in contender.points or (None,):
                reason = f"no {contender.device} device is there"
                yield job.cell(contender, point) | absent | {"status": "skipped", "reason": reason}
        return
    report(f"making {job.n} x {job.d} vectors, {job.data}")
    with prepared(job) as data:
        threads, devices = Place(threads=job.threads).workers, sorted({_device(one) for one in job.contenders})
        rates = {device: Rates(device[0], threads, device[1]) for device in devices if _is_present(device[0])}
        timings = trainings(job, data.vectors) if job.task == "kmeans" else searches(job, data, report)
        time_all(job, timings, list(rates.values()), report)
        peak, accuracy = _peak_mib(), _Accuracy(job, data)
        report("checking the answers")
        order = [(contender, point) for contender in job.contenders for point in contender.points or (None,)]
        timings.sort(key=lambda timing: order.index((timing.contender, timing.point)))
        for timing in timings:
            row = job.cell(timing.contender, timing.point) | absent
            row |= {"status": timing.status, "reason": timing.reason}
            if timing.status == "ok":
                row |= {"peak_mib": peak} | _times(timing) | _work(job, timing, rates[_device(timing.contender)])
                row |= accuracy.of(timing) if timing.point else {"inertia": median(timing.inertias)}
            yield row


def _device(contender: Contender) -> tuple[str, str]:
    """Its device, and the dtype of the device's rate."""
    return contender.device, contender.dtype if contender.device == "cuda" else "float32"


def _is_present(device: str) -> bool:
    if device == "cpu":
        return True
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()


class _Accuracy:
    """Recall and error of searches. Exact answers are computed once for each k."""

    def __init__(self, job: Job, data: Data) -> None:
        self._queries, self._n = data.queries, job.n
        self._checked = data.queries[:_CHECKED]
        if len(data.queries) * job.n * job.d > _MOST_COMPARED:
            self._queries = data.queries[:_SAMPLED]
        self._brute_force = cache(lambda k: brute_force(job.metric, data.vectors, self._checked, k))

        def exact(k: int) -> np.ndarray:
            """By our exact search, which the tests compare to float64: brute force is slow for many queries."""
            index = build("numpy", data.vectors, Spec(metric=job.metric))
            return index.search(self._queries, k)[0]

        self._exact = cache(exact)

    def of(self, timing: Timing) -> Row:
        """`recall_at_k`, and for exact search `max_relative_error`."""
        assert timing.point is not None
        k = min(timing.point.k, self._n)
        if timing.contender.index != "flat":
            return {"recall_at_k": recall(bare_search(timing, self._queries), self._exact(k))}
        ids, scores = search(timing, self._checked)
        exact_ids, exact = self._brute_force(k)
        errors = np.abs(scores - exact) / np.maximum(np.abs(exact), 1e-12)
        return {"max_relative_error": float(errors.max(initial=0.0)), "recall_at_k": recall(ids, exact_ids)}


def _times(timing: Timing) -> Row:
    seconds = timing.seconds
    row: Row = {"search_s": median(seconds), "search_min_s": min(seconds), "search_max_s": max(seconds)}
    row |= {"repeats": len(seconds), "build_s": timing.build_s}
    if timing.point:
        row |= {"queries_per_s": timing.point.batch / median(seconds), "index_mib": timing.index.nbytes / (1 << 20)}
    return row


def _work(job: Job, timing: Timing, rates: Rates) -> Row:
    """Bytes, operations, and the least time that they take."""
    if timing.point:
        lists = timing.index.spec.lists(job.n) if timing.contender.index in {"ivf", "ivf_pq"} else None
        work = search_work(job, timing.contender, timing.point, lists)
    else:
        work = kmeans_work(job, timing.contender.clusters or 1, timing.iterations)
    if work is None:
        return {}
    moved, operations = work
    floor_s = max(moved / rates.bytes_per_s, operations / rates.flops_per_s)
    share = floor_s / median(timing.seconds)
    return {"bytes_moved": moved, "flops": operations, "floor_s": floor_s, "of_roofline": share}


def _peak_mib() -> float:
    """The largest resident memory of this process.

    VmHWM on Linux: getrusage there begins with the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8", errors="replace").splitlines() if status.is_file() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / (1 << 10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
