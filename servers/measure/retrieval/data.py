"""The vectors of a job and its queries: made up, or from a file; in memory, or mapped from a file. Measures nothing."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from servers.measure.retrieval import synthetic
from servers.measure.retrieval.job import Job, JobError

__all__ = ["Data", "prepared"]

_QUERIES = 256  # different ones at least, so that no answer is the luck of one query
_MOST_NUMBERS = 1 << 26


class Data(NamedTuple):
    """vectors (n, d) f32 or f16, queries (q, d) f32."""

    vectors: np.ndarray
    queries: np.ndarray


@contextmanager
def prepared(job: Job) -> Iterator[Data]:
    """The data for as long as the block runs; a file made for it is deleted after. Raises JobError."""
    batches = [point.batch for contender in job.contenders for point in contender.points]
    count = max([min(_QUERIES, max(1, _MOST_NUMBERS // job.d)), *batches])
    with tempfile.TemporaryDirectory(prefix="ragbench-vectors-") as scratch:
        if job.data.endswith(".npy"):
            yield _from_file(job, count)
            return
        try:
            wanted = synthetic.queries(job.data, job.n, job.d, count=count, seed=job.seed)
            made = synthetic.blocks(job.data, job.n, job.d, seed=job.seed)
            yield Data(_kept(job, made, Path(scratch) / "vectors.npy"), wanted)
        except ValueError as error:
            raise JobError(str(error)) from error


def _kept(job: Job, made: Iterator[np.ndarray], path: Path) -> np.ndarray:
    shape = job.n, job.d
    if job.storage == "memory":
        kept = np.empty(shape, dtype=np.float32)
    else:
        kept = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    start = 0
    for rows in made:
        kept[start : start + len(rows)] = rows
        start += len(rows)
        if isinstance(kept, np.memmap) and start < job.n:
            kept = _let_go(kept, path)
    return kept if job.storage == "memory" else np.load(path, mmap_mode="r", allow_pickle=False)


def _let_go(kept: np.memmap, path: Path) -> np.memmap:
    """The same file mapped again: what was written is the file's, no longer this process's memory."""
    kept.flush()
    del kept
    return np.lib.format.open_memmap(path, mode="r+")


def _from_file(job: Job, count: int) -> Data:
    """The first n rows, and as queries the last ones, which the job must leave over."""
    try:
        vectors = np.load(job.data, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise JobError(f"data {job.data}: {error}") from error
    if vectors.ndim != 2 or vectors.shape[1] != job.d or len(vectors) < job.n + count:
        raise JobError(
            f"data {job.data}: wanted rows of {job.d}, {job.n} and {count} more for queries, got {vectors.shape}"
        )
    kept = np.memmap(job.data, vectors.dtype, "r", offset=vectors.offset, shape=(job.n, job.d))
    return Data(kept if job.storage == "file" else np.array(kept), np.array(vectors[-count:], dtype=np.float32))
