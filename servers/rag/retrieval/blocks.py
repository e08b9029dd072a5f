"""Rows in blocks, each read and put on the device while the one before is searched. Compares nothing."""

import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar, cast

import numpy as np

__all__ = ["bounds", "gather", "is_mapped", "stream"]

T = TypeVar("T")
_CANDIDATES = 8000


def bounds(start: int, stop: int, *, known: int, queries: int, k: int, largest: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of blocks that grow up to `largest` rows, where the k best of the first `known` rows are a floor.

    With rows in random order some k g of the next g times as many reach it; g is such that a block gives about as many
    candidates, whatever the batch.
    """
    growth = min(64, max(4, _CANDIDATES // max(1, queries * k)))
    rows = min(known * growth, largest)
    while start < stop:
        end = min(start + rows, stop)
        yield start, end
        start, rows = end, min(end * growth, largest)


def is_mapped(vectors: np.ndarray) -> bool:
    """Whether they are a file mapped to memory, whole and in order."""
    return isinstance(vectors, np.memmap) and isinstance(vectors.base, mmap.mmap) and vectors.flags.c_contiguous


def stream(
    vectors: np.ndarray, parts: Iterator[tuple[int, int]], put: Callable[[int, np.ndarray], T]
) -> Iterator[tuple[int, T]]:
    """(start, what `put` made of the rows) of each part, one part ahead in a thread of its own.

    A mapped file is read into two buffers in turn and never through its mapping, so that memory stays bounded by them
    however large the file is.
    """
    with _reader(vectors) as read, ThreadPoolExecutor(1, thread_name_prefix="blocks") as pool:

        def load(part: tuple[int, int]) -> T:
            return put(part[0], read(slice(*part)))

        part = next(parts, None)
        ahead = None if part is None else pool.submit(load, part)
        while part is not None and ahead is not None:
            start, block = part[0], ahead.result()
            part = next(parts, None)
            ahead = None if part is None else pool.submit(load, part)
            yield start, block


def gather(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those rows (c, d) of a mapped file, each read: through the mapping its pages would stay in this process."""
    with _reader(vectors) as read:
        found = np.empty((len(rows), vectors.shape[1]), dtype=vectors.dtype)
        for place, row in enumerate(rows.tolist()):
            found[place] = read(slice(row, row + 1))[0]
    return found


@contextmanager
def _reader(vectors: np.ndarray) -> Iterator[Callable[[slice], np.ndarray]]:
    """What gives rows."""
    if not is_mapped(vectors):
        yield vectors.__getitem__
        return
    mapped = cast(np.memmap, vectors)
    file = os.open(str(mapped.filename), os.O_RDONLY)
    try:
        yield _FileReader(mapped, file)
    finally:
        os.close(file)


class _FileReader:
    """Rows of a mapped .npy file by reading it, into two buffers in turn."""

    def __init__(self, vectors: np.memmap, file: int) -> None:
        self._shape, self._dtype, self._file = vectors.shape, vectors.dtype, file
        self._offset = vectors.offset
        self._buffers = [np.empty(0, dtype=vectors.dtype), np.empty(0, dtype=vectors.dtype)]

    def __call__(self, rows: slice) -> np.ndarray:
        width = self._shape[1]
        wanted = (rows.stop - rows.start) * width
        if len(self._buffers[0]) < wanted:
            self._buffers[0] = np.empty(wanted, dtype=self._dtype)
        buffer = self._buffers[0][:wanted]
        self._buffers.reverse()
        view, at = memoryview(buffer.data).cast("B"), self._offset + rows.start * width * self._dtype.itemsize
        while len(view):
            got = os.preadv(self._file, [view], at)
            if got == 0:
                raise OSError(f"the file of the vectors ends at byte {at}: it has been cut since it was opened")
            view, at = view[got:], at + got
        return buffer.reshape(-1, width)
