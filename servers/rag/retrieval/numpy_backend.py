"""Exact search in numpy: one matrix product a block, written to be read. The reference for every other backend."""

from typing import Any, NamedTuple

import numpy as np

from servers.rag.retrieval.flat import Candidates
from servers.rag.retrieval.keys import keys_of, prepared
from servers.rag.retrieval.metrics import error_terms
from servers.rag.retrieval.place import Place
from servers.rag.retrieval.spec import Spec

__all__ = ["NumpyScanner", "require", "scanner"]

_ROWS = 8192  # of which the keys with a batch of 32 stay in a cache


class _Block(NamedTuple):
    rows: np.ndarray
    norms: np.ndarray


class NumpyScanner:
    """See Scanner. Blocks are the vectors themselves, in memory."""

    def __init__(self, spec: Spec) -> None:
        self._metric = spec.metric
        self.is_direct = spec.metric == "l1"

    def largest(self, dimensions: int, queries: int, *, is_held: bool) -> int:
        """See Scanner."""
        return max(1, min(1 << 20, (1 << 26) // (4 * dimensions)))

    def terms(self, dimensions: int) -> int:
        """See Scanner; numpy's own sums are pairwise."""
        return error_terms(dimensions)

    def hold(self, vectors: np.ndarray, norms: np.ndarray) -> _Block:
        """See Scanner."""
        return _Block(vectors, norms)

    def part(self, held: _Block, start: int, stop: int) -> _Block:
        """See Scanner."""
        return _Block(held.rows[start:stop], held.norms[start:stop])

    def put(self, rows: np.ndarray, norms: np.ndarray) -> _Block:
        """See Scanner."""
        return _Block(rows, norms)

    def ready(self, queries: np.ndarray) -> np.ndarray:
        """See Scanner."""
        return prepared(self._metric, queries)

    def scan(self, queries: Any, block: _Block, floor: np.ndarray) -> Candidates:
        """See Scanner."""
        found = []
        for start in range(0, len(block.rows), _ROWS):
            rows = block.rows[start : start + _ROWS].astype(np.float32, copy=False)
            keys = keys_of(self._metric, queries, rows, block.norms[start : start + _ROWS])
            places, of = np.nonzero(keys >= floor)
            found.append(Candidates(of, places + start, keys[places, of]))
        return found[0] if len(found) == 1 else Candidates(*(np.concatenate(part) for part in zip(*found, strict=True)))


def require(place: Place) -> None:
    """See BACKENDS."""
    place.on_cpu_alone("numpy")


def scanner(spec: Spec, place: Place) -> NumpyScanner:
    """See BACKENDS."""
    require(place)
    return NumpyScanner(spec)
