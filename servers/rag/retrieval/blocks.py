"""Rows in blocks. While a block of a mapped file is searched, the next one is read. Compares nothing."""

import mmap
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

_FIRST, _FIRST_PAIRS = 1024, 1 << 16  # rows, or pairs of query and row, that the first floor is made of
_CANDIDATES = 8000  # of a block


def bounds(count: int, *, queries: int, k: int, largest: int) -> Iterator[slice]:
    """Blocks that grow up to `largest` rows; the k best rows of the first ones set the floor.

    With rows in random order about k g of the next g times as many rows reach it. The growth g is chosen so that the
    candidates of a block are about as many for any batch.
    """
    growth = min(64, max(4, _CANDIDATES // max(1, queries * k)))
    start, rows = 0, max(k, min(_FIRST, _FIRST_PAIRS // queries), 1)
    while start < count:
        yield slice(start, min(start + min(rows, largest), count))
        start, rows = start + min(rows, largest), rows * growth


def is_mapped(vectors: np.ndarray) -> bool:
    """Whether they are a complete, contiguous memory-mapped file."""
    return isinstance(vectors, np.memmap) and isinstance(vectors.base, mmap.mmap) and vectors.flags.c_contiguous


def stream(vectors: np.ndarray, parts: Iterator[slice]) -> Iterator[tuple[slice, np.ndarray]]:
    """Each part with its rows, read one part ahead in a thread. A block is valid until the next one is taken.

    A mapped file is read, not accessed through its mapping: memory stays bounded by two blocks for any size of file.
    """
    buffers = [np.empty(0, dtype=vectors.dtype), np.empty(0, dtype=vectors.dtype)]

    def read(part: slice) -> np.ndarray:
        buffers.reverse()
        wanted = (part.stop - part.start) * vectors.shape[1]
        if len(buffers[0]) < wanted:
            buffers[0] = np.empty(wanted, dtype=vectors.dtype)
        return _read(vectors, part, buffers[0][:wanted])

    with ThreadPoolExecutor(1, thread_name_prefix="blocks") as pool:
        ahead: tuple[slice, Future[np.ndarray]] | None = None
        for part in parts:
            before, ahead = ahead, (part, pool.submit(read, part))
            if before is not None:
                yield before[0], before[1].result()
        if ahead is not None:
            yield ahead[0], ahead[1].result()


def gather(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows (c, d) of a mapped file. They are read: pages of the mapping would stay in this process."""
    found = np.empty((len(rows), vectors.shape[1]), dtype=vectors.dtype)
    for place, row in enumerate(rows.tolist()):
        _read(vectors, slice(row, row + 1), found[place])
    return found


def _read(vectors: np.ndarray, part: slice, into: np.ndarray) -> np.ndarray:
    """Read rows of a mapped file into a flat buffer of their size. Raises OSError where the file was truncated."""
    if not is_mapped(vectors):
        return vectors[part]
    assert isinstance(vectors, np.memmap)
    with open(str(vectors.filename), "rb", buffering=0) as file:
        view, at = memoryview(into.data).cast("B"), vectors.offset + part.start * vectors[:1].nbytes
        file.seek(at)
        while len(view):
            got = file.readinto(view)
            if not got:
                raise OSError(f"the file of the vectors ends at byte {at}: it has been cut since it was opened")
            view, at = view[got:], at + got
    return into.reshape(-1, vectors.shape[1])
