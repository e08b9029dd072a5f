"""Exact search, whatever computes: a fast pass tells what may be near, and that is compared to the last bit.

Multiplies nothing itself: that is the scanner of each backend.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from servers.rag.retrieval import blocks, store
from servers.rag.retrieval.best import Best, Margin
from servers.rag.retrieval.metrics import checked_queries, exact_keys, margin, squared_norms
from servers.rag.retrieval.rows import Rows
from servers.rag.retrieval.spec import Spec

__all__ = ["Candidates", "Flat", "Scanner"]

_READ_BYTES = 1 << 25
_FIRST = 1024  # rows that the first floor is made of
_FIRST_PAIRS = 1 << 16
_LARGEST_HALF = 6e4  # a little under the largest float16


class Candidates(NamedTuple):
    """Pairs that may be among the nearest: queries (c,) i64, rows (c,) i64 in the block, keys (c,) f32."""

    queries: np.ndarray
    rows: np.ndarray
    keys: np.ndarray


class Scanner(Protocol):
    """What a backend computes."""

    is_direct: bool
    """Whether distances are sums of differences, rather than made of inner products and norms."""

    def terms(self, dimensions: int) -> int:
        """How many roundings may add up in a sum of so many terms; see metrics.margin."""

    def largest(self, dimensions: int, queries: int, *, is_held: bool) -> int:
        """The most rows of a block, which is part of what is held, or put by itself."""

    def hold(self, vectors: np.ndarray, norms: np.ndarray) -> Any | None:
        """Everything as one block, kept where the scanner reads it; None where it has to be put block by block."""

    def part(self, held: Any, start: int, stop: int) -> Any:
        """Rows of what is held, as a block."""

    def put(self, rows: np.ndarray, norms: np.ndarray) -> Any:
        """A block of rows (b, d) with their squared norms (b,), where the scanner reads it."""

    def ready(self, queries: np.ndarray) -> Any:
        """Queries (q, d) f32, where and as the scanner reads them."""

    def scan(self, queries: Any, block: Any, floor: np.ndarray) -> Candidates:
        """The pairs whose key reaches the query's floor (q,) f32."""


class Flat:
    """Every vector is compared. The vectors stay as they were given: in memory, or mapped from a file.

    They are the truth that answers are made from; what a scanner holds on a device is a copy to find candidates with.
    """

    def __init__(self, rows: Rows, spec: Spec, scanner: Scanner) -> None:
        self.spec = spec
        self._scanner = scanner
        self._take(rows)

    def _take(self, rows: Rows) -> None:
        vectors, norms = rows.vectors, _norms(rows.vectors)
        largest_norm = float(np.sqrt(norms.max(initial=0)))
        if self.spec.dtype == "float16" and largest_norm > _LARGEST_HALF:
            raise ValueError(f"dtype float16 wants norms up to {_LARGEST_HALF:g}, got {largest_norm:.3g}; use bfloat16")
        self._rows, self._vectors, self._norms, self._largest_norm = rows, vectors, norms, largest_norm
        self._held = None  # before another copy is made
        self._held = None if blocks.is_mapped(vectors) else self._scanner.hold(vectors, norms)

    @property
    def shape(self) -> tuple[int, int]:
        """See Index."""
        return self._rows.shape

    @property
    def nbytes(self) -> int:
        """See Index."""
        vectors = 0 if blocks.is_mapped(self._vectors) else self._vectors.nbytes
        return vectors + self._norms.nbytes + self._rows.ids.nbytes

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See Index."""
        queries = checked_queries(queries, self.shape[1])
        k = min(_checked_k(k), len(self._vectors))
        best = Best(self.spec.metric, len(queries), k)
        if k == 0 or len(queries) == 0:
            return np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k), dtype=np.float32)
        allowed = partial(
            margin,
            spec=self.spec,
            dimensions=self.shape[1],
            query_norms=self._query_norms(queries),
            terms=self._scanner.terms(self.shape[1]),
            largest_norm=self._largest_norm,
            is_direct=self._scanner.is_direct,
        )
        for found in self._candidates(self._scanner.ready(queries), best, k, allowed):
            best.offer(
                found.queries,
                found.rows,
                found.keys,
                margin=allowed,
                exact=partial(self._exact, queries),
            )
        rows, scores = best.found()
        return self._rows.ids[rows], scores

    def add(self, vectors: np.ndarray) -> np.ndarray:
        """See Index; copies what is there. Raises ValueError on vectors that are mapped from a file."""
        self._refuse_mapped()
        self._take(self._rows.joined(vectors))
        return self._rows.ids[self.shape[0] - len(vectors) :].copy()

    def remove(self, ids: np.ndarray) -> int:
        """See Index; copies what is left. Raises ValueError on vectors that are mapped from a file."""
        self._refuse_mapped()
        before = self.shape[0]
        self._take(self._rows.without(ids))
        return before - self.shape[0]

    def save(self, folder: Path) -> None:
        """See Index."""
        store.write(folder, self.spec.as_dict(), self._rows.arrays())

    def _query_norms(self, queries: np.ndarray) -> np.ndarray:
        norms = np.sqrt(squared_norms(queries))
        if self.spec.dtype == "float16" and norms.max() * max(1.0, self._largest_norm) > _LARGEST_HALF:
            raise ValueError(
                f"dtype float16 holds products up to {_LARGEST_HALF:g}; scale the vectors, or use bfloat16"
            )
        return norms

    def _exact(self, queries: np.ndarray, of: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Keys (c,) f64 of the pairs queries[of] and the vectors of these rows."""
        if not blocks.is_mapped(self._vectors):
            return exact_keys(self.spec.metric, queries, of, self._vectors, rows)
        near = blocks.gather(self._vectors, rows)
        return exact_keys(self.spec.metric, queries, of, near, np.arange(len(rows)))

    def _refuse_mapped(self) -> None:
        if blocks.is_mapped(self._vectors):
            raise ValueError("an index over a mapped file cannot be changed: build one over the vectors in memory")

    def _candidates(self, ready: Any, best: Best, k: int, allowed: Margin) -> Iterator[Candidates]:
        """Pairs that may be among the k best, their rows counted from the first vector on, block by block.

        Whoever asks for the next block has offered this one's to `best`, whose floor it is scanned with. Pairs of the
        first rows come with those of the first block.
        """
        count, queries = len(self._vectors), len(best.floor)
        first, known = None, self._known(queries)
        least = np.full(queries, -np.inf)
        if known >= k:
            first, least = self._start(ready, queries, known, k, allowed)
        parts = blocks.bounds(
            0 if first is None else known, count, known=known, queries=queries, k=k, largest=self._largest(queries)
        )
        for start, block in self._blocks(parts):
            floor = np.maximum(best.floor - allowed(best.floor), least)
            found = self._scanner.scan(ready, block, np.nextafter(floor.astype(np.float32), np.float32(-np.inf)))
            found = found._replace(rows=found.rows + start)
            yield Candidates(*map(np.concatenate, zip(first, found, strict=True))) if first is not None else found
            first = None
        if first is not None:
            yield first

    def _known(self, queries: int) -> int:
        """How many rows are looked at first: no more than a block has, so that it gives every query k candidates."""
        return min(len(self._vectors), max(1, min(_FIRST, _FIRST_PAIRS // queries)), self._largest(queries))

    def _start(self, ready: Any, queries: int, known: int, k: int, allowed: Margin) -> tuple[Candidates, np.ndarray]:
        """Candidates of the first `known` rows, and keys (q,) f64 that k of them reach beyond doubt."""
        if self._held is not None:
            block = self._scanner.part(self._held, 0, known)
        else:
            block = self._scanner.put(np.array(self._vectors[:known]), self._norms[:known])
        found = self._scanner.scan(ready, block, np.full(queries, -np.inf, dtype=np.float32))
        keys = np.full((queries, known), -np.inf)
        keys[found.queries, found.rows] = found.keys
        kth = np.partition(keys, known - k, axis=1)[:, known - k]
        least = kth - 2 * allowed(kth)
        of, rows = np.nonzero(keys >= least[:, None])
        return Candidates(of, rows, keys[of, rows].astype(np.float32)), least

    def _largest(self, queries: int) -> int:
        return self._scanner.largest(self.shape[1], queries, is_held=self._held is not None)

    def _blocks(self, parts: Iterator[tuple[int, int]]) -> Iterator[tuple[int, Any]]:
        if self._held is not None:
            return ((start, self._scanner.part(self._held, start, stop)) for start, stop in parts)
        return blocks.stream(
            self._vectors, parts, lambda start, rows: self._scanner.put(rows, self._norms[start : start + len(rows)])
        )


def _checked_k(k: int) -> int:
    if k < 0:
        raise ValueError(f"k must be >= 0, got {k}")
    return k


def _norms(vectors: np.ndarray) -> np.ndarray:
    """Squared norms (n,) f32, of a mapped file without having it all in memory."""
    if not blocks.is_mapped(vectors):
        return squared_norms(vectors)
    rows = max(1, _READ_BYTES // vectors[:1].nbytes)
    parts = ((start, min(start + rows, len(vectors))) for start in range(0, len(vectors), rows))
    found = [part for _, part in blocks.stream(vectors, parts, lambda _, block: squared_norms(block))]
    return np.concatenate(found) if found else np.empty(0, dtype=np.float32)
