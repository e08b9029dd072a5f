"""Exact search on a CPU by loops that numba compiles: keys are compared to a floor in registers, never written."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from servers.rag.retrieval.flat import Candidates
from servers.rag.retrieval.kernels import LANES, METRIC_CODES, ROWS, SPAN, by_lanes, read_only, scan, scan_few
from servers.rag.retrieval.keys import inverse_lengths, prepared
from servers.rag.retrieval.place import Place
from servers.rag.retrieval.spec import Spec

__all__ = ["NumbaScanner", "require", "scanner"]

_ROOM = 1 << 16  # candidates of one call that there is room for
_BLOCK_BYTES = 1 << 26  # where vectors are put block by block
_SLICE = 1 << 27  # products in lanes at a time, about 2 ms: a thread that is held up holds up no others
_FEW = 2  # queries that meet a row one after the other; with four, sixteen lanes of which twelve idle are as quick
_ALONE = 1 << 22  # for so few, up to a millisecond, it was quicker to wake no thread
_FEW_COST = 8  # products in lanes that take as long as one where queries are few


class _Block(NamedTuple):
    rows: np.ndarray
    scales: np.ndarray


class NumbaScanner:
    """See Scanner. A block is the vectors themselves; half precision is widened as it is put."""

    is_direct = True

    def __init__(self, spec: Spec, workers: int) -> None:
        self._metric = spec.metric
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="scan")

    def largest(self, dimensions: int, queries: int, *, is_held: bool) -> int:
        """See Scanner."""
        return 1 << 30 if is_held else max(1, _BLOCK_BYTES // (4 * dimensions))

    def terms(self, dimensions: int) -> int:
        """See Scanner; the numbers of a span are added up, in whatever order, and then the spans."""
        return min(dimensions, SPAN + dimensions // SPAN) + 4

    def hold(self, vectors: np.ndarray, norms: np.ndarray) -> _Block | None:
        """See Scanner."""
        return self.put(vectors, norms) if vectors.dtype == np.float32 else None

    def part(self, held: _Block, start: int, stop: int) -> _Block:
        """See Scanner."""
        return _Block(held.rows[start:stop], held.scales[start:stop])

    def put(self, rows: np.ndarray, norms: np.ndarray) -> _Block:
        """See Scanner."""
        scales = inverse_lengths(norms) if self._metric == "cosine" else norms
        return _Block(read_only(rows.astype(np.float32, copy=False)), read_only(scales))

    def ready(self, queries: np.ndarray) -> np.ndarray:
        """See Scanner; (q, d) where they are few, else by lanes, (g, d, LANES)."""
        wanted = prepared(self._metric, queries)
        return read_only(wanted if len(wanted) <= _FEW else by_lanes(wanted))

    def scan(self, queries: Any, block: _Block, floor: np.ndarray) -> Candidates:
        """See Scanner."""
        least = floor
        if queries.ndim == 3:
            least = np.full(len(queries) * LANES, np.inf, dtype=np.float32)
            least[: len(floor)] = floor
        products = len(block.rows) * queries.size
        if products <= _ALONE:
            return self._part(queries, block, least, 0, len(block.rows))
        at_a_time = _SLICE if queries.ndim == 3 else _SLICE // _FEW_COST
        slices = min(-(-len(block.rows) // 256), max(self._workers, products // at_a_time))
        edges = np.linspace(0, len(block.rows), slices + 1).astype(int).tolist()
        parts = [self._pool.submit(self._part, queries, block, least, *edge) for edge in pairwise(edges)]
        found = [part.result() for part in parts]
        return Candidates(*(np.concatenate(part) for part in zip(*found, strict=True)))

    def _part(self, queries: np.ndarray, block: _Block, floor: np.ndarray, start: int, stop: int) -> Candidates:
        rows, scales, loop, room = block.rows[start:stop], block.scales[start:stop], scan, _ROOM
        if queries.ndim == 2:
            loop = scan_few
        elif len(rows) < ROWS:  # fewer than that loop takes at a time: zeros before them
            rows, scales = (
                read_only(np.concatenate([np.zeros((ROWS - len(of), *of.shape[1:]), of.dtype), of]))
                for of in (rows, scales)
            )
        before = len(rows) - (stop - start)
        while True:
            out = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64), np.empty(room, dtype=np.float32)
            count = loop(METRIC_CODES[self._metric], queries, rows, scales, floor, *out)
            if count <= room:
                kept = slice(0, count) if before == 0 else out[1][:count] >= before
                return Candidates(out[0][:count][kept], out[1][:count][kept] - before + start, out[2][:count][kept])
            room = count


def require(place: Place) -> None:
    """See BACKENDS."""
    place.on_cpu_alone("numba")


def scanner(spec: Spec, place: Place) -> NumbaScanner:
    """See BACKENDS."""
    require(place)
    return NumbaScanner(spec, place.workers)
