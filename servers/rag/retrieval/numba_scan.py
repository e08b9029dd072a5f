"""l1 on a CPU by compiled loops on threads of our own. Other metrics are products, which numpy computes.

A key is compared to the floor while it is in a register: no differences and no matrix of keys are ever written, so that
l1 takes about as long as the vectors take to be read.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit

from servers.rag.retrieval.arrays import arrays_for
from servers.rag.retrieval.best import Candidates
from servers.rag.retrieval.scan import Block, Scan, slices
from servers.rag.retrieval.spec import Place, RetrieverMissing

_ROOM = 1 << 14  # candidates that fit at first
_SLICE = 1 << 25  # differences of a call: about 5 ms, so that a delayed thread delays no others
_SPAN = 512  # numbers that are added up, in lanes, before they are added to the others


class NumbaScan(Scan):
    """A Scan in numpy, except for l1 once there is a floor."""

    def __init__(self, metric: str, place: Place) -> None:
        if place.device != "cpu":
            raise RetrieverMissing(f"retriever numba runs on the CPU alone, not on {place.device}")
        if place.workers < 1:
            raise ValueError(f"threads must be >= 1, got {place.threads}")
        super().__init__(arrays_for("numpy"), metric)
        self._pool = ThreadPoolExecutor(place.workers, thread_name_prefix="scan")

    def find(self, queries: Any, block: Block, floor: np.ndarray, slack: np.ndarray, k: int) -> Candidates:
        """As Scan has it."""
        if self.metric != "l1" or not np.isfinite(floor).all():
            return super().find(queries, block, floor, slack, k)

        def part(rows: slice) -> Candidates:
            found = _reaching(queries, block.rows[rows].astype(np.float32, copy=False), floor)
            return found._replace(rows=found.rows + rows.start)

        found = list(self._pool.map(part, slices(len(block.rows), _SLICE // queries.size)))
        return Candidates(*map(np.concatenate, zip(*found, strict=True)))


def _reaching(queries: np.ndarray, rows: np.ndarray, floor: np.ndarray) -> Candidates:
    """The pairs that reach the floor; repeats with larger arrays where they did not fit."""
    room = _ROOM
    while True:
        of, places, keys = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.float32)
        count = _scan(_read_only(queries), _read_only(rows), floor, of, places, keys)
        if count <= room:
            return Candidates(of[:count], places[:count], keys[:count])
        room = count


def _read_only(array: np.ndarray) -> np.ndarray:
    """A read-only view: numba compiles a second version for writable arrays."""
    view = array.view()
    view.setflags(write=False)
    return view


def _compiled(**options: Any) -> Any:
    """`njit`, cached on disk where possible: an image may be read-only and its user without a home folder."""

    def wrap(function: Any) -> Any:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no folder may be written
            return njit(nogil=True, **options)(function)

    return wrap


@_compiled(fastmath={"contract", "nsz", "reassoc"})  # sums in any order, but infinity stays infinity
def _difference(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for place in range(len(a)):
        total += abs(a[place] - b[place])
    return total


@_compiled()
def _scan(queries, rows, floor, out_queries, out_rows, out_keys):  # type: ignore[no-untyped-def]
    """Write the pairs whose key reaches the floor, as many as fit. -> the number of all such pairs.

    queries (q, d) f32, rows (n, d) f32, floor (q,) f32; out_queries, out_rows i64 and out_keys f32 of equal lengths.
    """
    found, d = 0, rows.shape[1]
    for row in range(len(rows)):
        for query in range(len(queries)):
            key = np.float32(0)
            for left in range(0, d, _SPAN):
                right = min(left + _SPAN, d)
                key -= _difference(queries[query, left:right], rows[row, left:right])
            if key >= floor[query]:
                if found < len(out_keys):
                    out_queries[found], out_rows[found], out_keys[found] = query, row, key
                found += 1
    return found
