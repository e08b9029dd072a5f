"""Lists searched by compiled loops on threads of our own: a slice of the queries each, or of a few queries' lists."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from servers.rag.retrieval import ann_kernels, metrics
from servers.rag.retrieval.array_scan import ArrayScan
from servers.rag.retrieval.arrays import arrays_for
from servers.rag.retrieval.kernels import read_only
from servers.rag.retrieval.kmeans import unit
from servers.rag.retrieval.lists import Lists
from servers.rag.retrieval.scan import Find

__all__ = ["CompiledScan"]

_METRICS = {"ip": ann_kernels.IP, "cosine": ann_kernels.COSINE, "l2": ann_kernels.L2}
_SLACK = 8  # more than k that are chosen in float32, so that float64 decides among what is near the k-th
_TASK = 1 << 22  # products that are worth another thread: some 2 ms of rows that no cache has


class CompiledScan:
    """See Scan. On `threads` threads, of which the caller's is one; numpy clusters the vectors."""

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"threads must be >= 1, got {threads}")
        self.arrays = arrays_for("numpy")
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="scan") if threads > 1 else None

    def over(self, lists: Lists, metric: str) -> Find:
        """See Scan."""
        return _CompiledFind(lists, metric, self)

    def compare(self, metric: str, queries: np.ndarray, vectors: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """See Scan. Vectors in half precision are compared by numpy."""
        if vectors.dtype != np.float32:
            return ArrayScan(self.arrays).compare(metric, queries, vectors, ids)
        keys, given = np.full(ids.shape, -np.inf), [read_only(a) for a in (queries, vectors, ids)]

        def task(part: slice) -> Callable[[], None]:
            return lambda: ann_kernels.compare(_METRICS[metric], given[0][part], given[1], given[2][part], keys[part])

        threads = min(self.threads, max(1, ids.size * vectors.shape[1] // _TASK))
        self.run([task(part) for part in _slices(len(queries), threads)])
        return keys

    def run(self, tasks: list[Callable[[], None]]) -> None:
        """All of them, at most one a thread."""
        futures = [self._pool.submit(task) for task in tasks[1:]] if self._pool else []
        tasks[0]()
        for future in futures:
            future.result()


class _CompiledFind:
    """Lists, and what their metric wants beside them."""

    def __init__(self, lists: Lists, metric: str, scan: CompiledScan) -> None:
        self._lists, self._metric, self._scan = lists, metric, scan
        self._coarse = read_only(lists.centroids), read_only(np.arange(len(lists.centroids)))
        self._arrays = read_only(lists.rows), read_only(lists.ids), read_only(lists.offsets)
        self._norms = read_only(lists.norms)
        lengths = np.sqrt(self._norms if metric == "cosine" else self._norms[:0])
        self._factors = read_only(np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0))
        self._books = np.ascontiguousarray(lists.quantiser.books.transpose(0, 2, 1)) if lists.quantiser else None

    def __call__(self, queries: np.ndarray, nprobe: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See Find. Shared out are queries, or where there are fewer of them than threads each one's lists."""
        best = np.full((len(queries), k), -1, dtype=np.int64), np.full((len(queries), k), -np.inf)
        turned = unit(queries) if self._books is not None and self._metric == "cosine" else queries
        threads = min(self._scan.threads, max(1, self._products(len(queries), nprobe) // _TASK))
        if len(queries) >= threads:
            parts = _slices(len(queries), threads)
            self._scan.run([self._task(turned[p], (nprobe, 0, 1), (best[0][p], best[1][p])) for p in parts])
        else:
            threads = min(threads, nprobe)
            bests = [best, *((best[0].copy(), best[1].copy()) for _ in range(threads - 1))]
            self._scan.run([self._task(turned, (nprobe, i, threads), bests[i]) for i in range(threads)])
            _merge(bests)
        if self._books is not None and self._metric == "l2":
            best[1][:] -= metrics.squared_norms(queries)[:, None]
        return best

    def _products(self, count: int, nprobe: int) -> int:
        """About how many a search for so many queries makes."""
        rows, width = self._arrays[0].shape
        lists, dimensions = self._coarse[0].shape
        return count * (lists * dimensions + nprobe * rows // lists * width)

    def _task(
        self, queries: np.ndarray, probing: tuple[int, int, int], best: tuple[np.ndarray, np.ndarray]
    ) -> Callable[[], None]:
        """A call of the kernel."""
        given = (_METRICS[self._metric], read_only(queries), self._coarse, probing, self._arrays)
        if self._books is None:
            return lambda: ann_kernels.scan_vectors(*given, self._factors, _SLACK, best)
        return lambda: ann_kernels.scan_codes(*given, self._norms, self._books, best)


def _merge(bests: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """The best of all parts, into the first."""
    ids, keys = (np.concatenate(parts, axis=1) for parts in zip(*bests, strict=True))
    order = np.lexsort((np.where(ids < 0, np.iinfo(np.int64).max, ids), -keys))[:, : bests[0][0].shape[1]]
    bests[0][0][:], bests[0][1][:] = np.take_along_axis(ids, order, axis=1), np.take_along_axis(keys, order, axis=1)


def _slices(count: int, parts: int) -> list[slice]:
    """The range cut into at most so many slices of nearly equal length."""
    parts = max(1, min(parts, count))
    return [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)]
