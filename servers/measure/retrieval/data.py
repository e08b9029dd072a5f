"""The vectors and queries of a job: synthetic or from a file; in memory or memory-mapped. Measures nothing.

Synthetic rows come in blocks, so that a set larger than memory can be written to a file. The same (name, n, d, seed)
always gives the same rows.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from servers.measure.retrieval.job import Job, JobError

Draw = Callable[[int, np.random.Generator], np.ndarray]  # (count, rng) -> rows (count, d) f32
_QUERIES = 256  # different queries at least, so that no figure depends on a single one
_MOST_NUMBERS = 1 << 26  # of all queries
_NUMBERS = 1 << 22  # of a block
_PER_CLUSTER = 500  # vectors of a cluster, on average
_WIDTH = 0.5  # standard deviation within a cluster; that of the centres is 1
_NOISE = 0.01  # standard deviation off the subspace; within it, it is 1


class Data(NamedTuple):
    """vectors (n, d) f32 or f16, queries (q, d) f32."""

    vectors: np.ndarray
    queries: np.ndarray


@contextmanager
def prepared(job: Job) -> Iterator[Data]:
    """The data for as long as the block runs; a temporary file of vectors is deleted afterwards. Raises JobError."""
    batches = [point.batch for contender in job.contenders for point in contender.points]
    count = max([min(_QUERIES, max(1, _MOST_NUMBERS // job.d)), *batches])
    if job.data.endswith(".npy"):
        yield _from_file(job, count)
        return
    with tempfile.TemporaryDirectory(prefix="ragbench-vectors-") as folder:
        try:
            asked = queries(job.data, job.n, job.d, count=count, seed=job.seed)
            vectors = _stored(job, blocks(job.data, job.n, job.d, seed=job.seed), Path(folder) / "vectors.npy")
        except ValueError as error:
            raise JobError(str(error)) from error
        yield Data(vectors, asked)


def _stored(job: Job, parts: Iterator[np.ndarray], path: Path) -> np.ndarray:
    """The rows in memory, or in a new file that is then mapped."""
    if job.storage == "memory":
        vectors, start = np.empty((job.n, job.d), dtype=np.float32), 0
        for rows in parts:
            vectors[start : start + len(rows)] = rows
            start += len(rows)
        return vectors
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (job.n, job.d)}
        np.lib.format.write_array_header_1_0(file, header)
        for rows in parts:
            rows.tofile(file)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _from_file(job: Job, count: int) -> Data:
    """The first n rows of the file; its last rows are the queries."""
    try:
        vectors = np.load(job.data, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise JobError(f"data {job.data}: {error}") from error
    if vectors.ndim != 2 or vectors.shape[1] != job.d or len(vectors) < job.n + count:
        raise JobError(
            f"data {job.data}: wanted rows of {job.d}, {job.n} and {count} more for queries, got {vectors.shape}"
        )
    first = np.memmap(job.data, vectors.dtype, "r", offset=vectors.offset, shape=(job.n, job.d))
    return Data(first if job.storage == "file" else np.array(first), np.array(vectors[-count:], dtype=np.float32))


def _uniform(n: int, d: int, rng: np.random.Generator, _: str) -> Draw:
    """Numbers in [0, 1)."""
    return lambda count, rng: rng.random((count, d), dtype=np.float32)


def _clustered(n: int, d: int, rng: np.random.Generator, _: str) -> Draw:
    """A mixture of equally likely normal distributions, one for each 500 vectors."""
    centres = rng.standard_normal((max(1, n // _PER_CLUSTER), d), dtype=np.float32)

    def draw(count: int, rng: np.random.Generator) -> np.ndarray:
        rows = rng.standard_normal((count, d), dtype=np.float32)
        rows *= _WIDTH
        rows += centres[rng.integers(len(centres), size=count)]
        return rows

    return draw


def _intrinsic(n: int, d: int, rng: np.random.Generator, dimension: str) -> Draw:
    """Normal in a random subspace of `dimension` dimensions, with a hundredth of noise in all d."""
    inner = int(dimension)
    if not 1 <= inner <= d:
        raise ValueError(f"intrinsic:{dimension} wants a dimension in 1..{d}")
    plane = np.linalg.qr(rng.standard_normal((d, inner)))[0].T.astype(np.float32)

    def draw(count: int, rng: np.random.Generator) -> np.ndarray:
        rows = rng.standard_normal((count, inner), dtype=np.float32) @ plane
        rows += _NOISE * rng.standard_normal((count, d), dtype=np.float32)
        return rows

    return draw


KINDS: dict[str, Callable[[int, int, np.random.Generator, str], Draw]] = {
    "uniform": _uniform,
    "clustered": _clustered,
    "intrinsic": _intrinsic,
}


def blocks(name: str, n: int, d: int, *, seed: int) -> Iterator[np.ndarray]:
    """The n rows (b, d) f32 in blocks. `name` is one of KINDS, as in `intrinsic:16`. Raises ValueError."""
    draw, rows_rng = _distribution(name, n, d, seed)
    rows = max(1, _NUMBERS // d)
    for start in range(0, n, rows):
        yield draw(min(rows, n - start), rows_rng.spawn(1)[0])


def queries(name: str, n: int, d: int, *, count: int, seed: int) -> np.ndarray:
    """Queries (count, d) f32 of the same distribution as the n rows, but none of these rows. Raises ValueError."""
    draw, _ = _distribution(name, n, d, seed)
    return draw(count, np.random.default_rng([seed, 1]))


def _distribution(name: str, n: int, d: int, seed: int) -> tuple[Draw, np.random.Generator]:
    kind, _, parameter = name.partition(":")
    if kind not in KINDS or (kind == "intrinsic") != parameter.isdecimal() or (parameter and kind != "intrinsic"):
        raise ValueError(f"data must be uniform, clustered, intrinsic:DIMENSION or a file .npy, got {name!r}")
    shape_rng, rows_rng = np.random.default_rng([seed, 0]).spawn(2)
    return KINDS[kind](n, d, shape_rng, parameter), rows_rng
