"""A file that batches of vectors are added to, and that survives a kill. Computes none, and locks nothing.

Each batch stands behind its size and checksum, so that one which was cut off in the middle is seen and left out.
"""

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from io import FileIO

import numpy as np

__all__ = ["append", "batches"]

log = logging.getLogger(__name__)
_HEAD = struct.Struct("<III")  # before each batch of f32: its rows, its columns, its CRC-32


def batches(part: FileIO) -> Iterator[np.ndarray]:
    """The batches (rows, d) f32 in order; the first that is torn or damaged is cut off with all that follow it."""
    size, at = part.seek(0, os.SEEK_END), 0
    part.seek(0)
    while len(head := part.read(_HEAD.size)) == _HEAD.size:
        rows, columns, crc = _HEAD.unpack(head)
        if not 0 < 4 * rows * columns <= size - part.tell() or zlib.crc32(body := part.read(4 * rows * columns)) != crc:
            break
        yield np.frombuffer(body, dtype=np.float32).reshape(rows, columns)
        at = part.tell()
    part.truncate(at)


def append(part: FileIO, batch: np.ndarray) -> bool:
    """Write a batch (rows, d) f32; False where that fails, after which nothing may follow it."""
    body = batch.tobytes()
    record = _HEAD.pack(*batch.shape, zlib.crc32(body)) + body
    try:
        written = part.write(record)
    except OSError as error:
        log.warning("what is computed is not kept for a later run: %s", error)
        return False
    if written < len(record):
        log.warning("what is computed is not kept for a later run: the disk is full")
    return written == len(record)
