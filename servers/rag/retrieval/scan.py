"""Fast keys of queries and a block of rows, in numpy, torch or cupy: one matrix product, or l1. Orders nothing.

Keys may be off by `metrics.margin`. Pairs whose key reaches a floor are returned, all others are dropped.
"""

from typing import Any, NamedTuple

import numpy as np

from servers.rag.retrieval.arrays import Arrays
from servers.rag.retrieval.best import Candidates

_KEYS_BYTES = {"numpy": 1 << 20, "torch": 1 << 21, "cuda": 1 << 30}  # of one product: in a cache on a CPU
_ROWS_BYTES = {"numpy": 1 << 24, "torch": 1 << 28, "cuda": 1 << 30}  # of one product
_READ_BYTES = {"cpu": 1 << 25, "cuda": 1 << 30}  # of a block that is copied to the device on its own
_SHARE = 0.8  # of the GPU's free memory that vectors may take
_SPLIT = 32  # parts of a sum that cuBLAS may add in half precision, unless it is told not to


class Block(NamedTuple):
    """Rows (b, d) on the device; scales (b,) f32: factors of their keys (cosine), or subtracted from them (l2)."""

    rows: Any
    scales: Any

    def part(self, rows: slice) -> "Block":
        """Some of the rows."""
        return Block(self.rows[rows], self.scales[rows])


class Scan:
    """Scans in one metric. `dtype`: that of products. `halves`: how often a sum may be rounded to half precision."""

    def __init__(self, arrays: Arrays, metric: str, dtype: str = "float32") -> None:
        self.arrays, self.metric, self.dtype = arrays, metric, dtype
        self.halves = _SPLIT if arrays.library == "cupy" else 1
        if arrays.library == "torch" and arrays.is_cuda and dtype != "float32":
            products = arrays.xp.backends.cuda.matmul
            products.allow_fp16_reduced_precision_reduction = False
            products.allow_bf16_reduced_precision_reduction = False

    def largest(self, queries: int, dimensions: int, *, is_held: bool) -> int:
        """The most rows of a block: limited by the keys that fit on a GPU, and by what is read ahead."""
        by_keys = _KEYS_BYTES["cuda"] // (4 * queries) if self.arrays.is_cuda else 1 << 30
        read = _READ_BYTES["cuda" if self.arrays.is_cuda else "cpu"] // (4 * dimensions)
        return max(1, by_keys if is_held else min(by_keys, read))

    def hold(self, vectors: np.ndarray, norms: np.ndarray) -> Block | None:
        """All vectors as one block; None where they do not fit on the GPU. On a CPU no copy, if possible."""
        arrays, (count, dimensions) = self.arrays, vectors.shape
        width = 4 if self.dtype == "float32" else 2
        if arrays.is_cuda and count * (dimensions * width + 4) > _SHARE * arrays.free_bytes():
            return None
        if self.dtype == "float32":
            return self.put(vectors, norms)
        rows = arrays.empty(vectors.shape, self.dtype)
        for part in slices(count, _READ_BYTES["cpu"] // (4 * dimensions)):
            rows[part] = self._as(arrays.put(vectors[part]), self.dtype)
        return Block(rows, self._scales(norms))

    def put(self, rows: np.ndarray, norms: np.ndarray) -> Block:
        """A block of rows (b, d) f32 or f16 with their squared norms (b,) f32."""
        return Block(self.arrays.put(rows), self._scales(norms))

    def ready(self, queries: np.ndarray) -> Any:
        """Queries (q, d) f32 on the device, for cosine of length 1, or zero."""
        if self.metric == "cosine":
            queries = queries * _inverse_lengths(np.einsum("qd,qd->q", queries, queries))[:, None]
        return self.arrays.put(queries)

    def find(self, queries: Any, block: Block, floor: np.ndarray, slack: np.ndarray, k: int) -> Candidates:
        """The pairs whose key reaches the query's floor (q,) f32; rows are those of the block.

        A query without a floor (-inf) gets one from the product of k or more rows: the k-th key less the slack (q,).
        """

        def part(rows: slice) -> Candidates:
            found = self.near(queries, block.part(rows), floor, slack, k)
            return found._replace(rows=found.rows + rows.start)

        found = self.arrays.map(part, slices(len(block.rows), self._step(len(queries), block.rows.shape[1])))
        return found[0] if len(found) == 1 else Candidates(*map(np.concatenate, zip(*found, strict=True)))

    def near(self, queries: Any, block: Block, floor: np.ndarray, slack: np.ndarray, k: int) -> Candidates:
        """As `find`, by one product."""
        arrays, keys = self.arrays, self.keys(queries, block)
        if len(keys) >= k and not np.isfinite(floor).all():
            floor = np.maximum(floor, np.partition(arrays.host(keys), len(keys) - k, axis=0)[len(keys) - k] - slack)
        rows, of = arrays.xp.nonzero(keys >= arrays.put(floor))
        return Candidates(arrays.host(of), arrays.host(rows), arrays.host(keys[rows, of]))

    def keys(self, queries: Any, block: Block) -> Any:
        """Keys (b, q) f32: rows first, because BLAS is faster so. For l2 half the key, without the query's own norm."""
        metric = self.metric
        rows = self._as(block.rows, self.dtype)
        if metric == "l1":
            return -self._as(self.arrays.distances(self._as(rows, "float32"), queries), "float32")
        keys = self._as(rows @ self._as(queries, self.dtype).T, "float32")
        if metric == "cosine":
            keys *= block.scales[:, None]
        elif metric == "l2":
            keys -= block.scales[:, None]
        return keys

    def _step(self, queries: int, dimensions: int) -> int:
        """Rows of one product."""
        kind = "cuda" if self.arrays.is_cuda else self.arrays.library
        return max(16, min(_KEYS_BYTES[kind] // (4 * queries), _ROWS_BYTES[kind] // (4 * dimensions)))

    def _scales(self, norms: np.ndarray) -> Any:
        return self.arrays.put(_inverse_lengths(norms) if self.metric == "cosine" else norms / 2)

    def _as(self, array: Any, dtype: str) -> Any:
        return self.arrays.xp.astype(array, getattr(self.arrays.xp, dtype), copy=False)


def slices(count: int, rows: int) -> list[slice]:
    """Slices of `rows` rows each, the last one perhaps shorter."""
    return [slice(start, min(start + rows, count)) for start in range(0, count, max(1, rows))]


def _inverse_lengths(squared: np.ndarray) -> np.ndarray:
    """One over the lengths of vectors with these squared norms; 0 for a zero vector."""
    lengths = np.sqrt(squared)
    return np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
