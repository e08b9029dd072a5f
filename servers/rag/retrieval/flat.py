"""Exact search: a fast scan finds candidates, which are then compared in float64."""

from collections.abc import Callable

import numpy as np

from servers.rag.retrieval import blocks, metrics
from servers.rag.retrieval.best import Best
from servers.rag.retrieval.rows import Rows, Stored
from servers.rag.retrieval.scan import Block, Scan
from servers.rag.retrieval.spec import Spec

_LARGEST_HALF = 6e4  # a little under the largest float16


class Flat(Stored):
    """An Index that compares every vector. The vectors stay where they are: in memory, or in a mapped file.

    Answers are computed from them; the copy of a scan, perhaps rounded, only finds candidates.
    """

    def __init__(self, rows: Rows, spec: Spec, scan: Scan) -> None:
        self.spec, self._scan = spec, scan
        self._index(rows)

    def _take(self, rows: Rows) -> None:
        if blocks.is_mapped(self._rows.vectors):
            raise ValueError("an index over a mapped file cannot be changed: build one over the vectors in memory")
        self._index(rows)

    def _index(self, rows: Rows) -> None:
        norms = _norms(rows.vectors)
        largest = float(np.sqrt(norms.max(initial=0)))
        if self._scan.dtype == "float16" and largest > _LARGEST_HALF:
            raise ValueError(f"dtype float16 wants norms up to {_LARGEST_HALF:g}, got {largest:.3g}; use bfloat16")
        self._rows, self._norms, self._largest_norm = rows, norms, largest
        self._held: Block | None = None  # before another copy is made
        if not blocks.is_mapped(rows.vectors):
            self._held = self._scan.hold(rows.vectors, norms)

    @property
    def nbytes(self) -> int:
        """Memory of vectors, norms and ids; vectors on disk do not count."""
        vectors = 0 if blocks.is_mapped(self._rows.vectors) else self._rows.vectors.nbytes
        return vectors + self._norms.nbytes + self._rows.ids.nbytes

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As Index has it."""
        return self._nearest(queries, k, self._every_block)

    def _nearest(
        self, queries: np.ndarray, k: int, scanned: Callable[[np.ndarray, Best, int], None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids and scores of the best candidates that `scanned` offers to a Best."""
        metric, (count, dimensions) = self.spec.metric, self.shape
        queries = metrics.checked_queries(queries, dimensions, k)
        k = min(k, count)
        if k == 0 or len(queries) == 0:
            return np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k), dtype=np.float32)
        allowed = metrics.margin(
            metric,
            dtype=self._scan.dtype,
            halves=self._scan.halves,
            dimensions=dimensions,
            query_norms=self._query_norms(queries),
            largest_norm=self._largest_norm,
        )
        best = Best(k, 2 * allowed)
        scanned(queries, best, k)
        of, rows = best.pairs
        vectors, places = self._rows.vectors, rows
        if blocks.is_mapped(vectors):
            vectors, places = blocks.gather(vectors, rows), np.arange(len(rows))
        keys = metrics.exact_keys(metric, queries, of, vectors, places)
        return metrics.ranked(metric, of, self._rows.ids[rows], keys, shape=(len(queries), k))

    def _every_block(self, queries: np.ndarray, best: Best, k: int) -> None:
        scan, ready, (count, dimensions) = self._scan, self._scan.ready(queries), self.shape
        largest = scan.largest(len(queries), dimensions, is_held=self._held is not None)
        parts = blocks.bounds(count, queries=len(queries), k=k, largest=largest)
        if self._held is not None:
            found = ((part, self._held.part(part)) for part in parts)
        else:
            read = blocks.stream(self._rows.vectors, parts)
            found = ((part, scan.put(rows, self._norms[part])) for part, rows in read)
        for part, block in found:
            near = scan.find(ready, block, best.floor, best.slack, k)
            best.offer(near._replace(rows=near.rows + part.start))

    def _query_norms(self, queries: np.ndarray) -> np.ndarray:
        norms = np.sqrt(metrics.squared_norms(queries))
        if self._scan.dtype == "float16" and norms.max() * max(1.0, self._largest_norm) > _LARGEST_HALF:
            raise ValueError(
                f"dtype float16 holds products up to {_LARGEST_HALF:g}; scale the vectors, or use bfloat16"
            )
        return norms


def _norms(vectors: np.ndarray) -> np.ndarray:
    """Squared norms (n,) f32, of a mapped file without having it all in memory."""
    if not blocks.is_mapped(vectors):
        return metrics.squared_norms(vectors)
    parts = blocks.bounds(len(vectors), queries=1, k=1, largest=max(1, (1 << 25) // vectors[:1].nbytes))
    found = [metrics.squared_norms(rows) for _, rows in blocks.stream(vectors, parts)]
    return np.concatenate([np.empty(0, dtype=np.float32), *found])
