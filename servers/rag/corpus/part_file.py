"""A file to which batches of vectors are appended, and which survives a kill.

Each batch follows its size and checksum, so that a torn one is recognised and left out.
"""

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from io import FileIO

import numpy as np

log = logging.getLogger(__name__)
_HEAD = struct.Struct("<III")  # before each batch of f32: its rows, its columns, its CRC-32


def batches(part: FileIO) -> Iterator[np.ndarray]:
    """The batches (rows, d) f32 in order. The file is truncated before the first torn or damaged one."""
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
    """Append a batch (rows, d) f32. -> whether that worked; after a failure nothing may be appended."""
    body = batch.tobytes()
    record = _HEAD.pack(*batch.shape, zlib.crc32(body)) + body
    try:
        written = part.write(record)
    except OSError as error:
        log.warning("the vectors so far are not kept for a later run: %s", error)
        return False
    if written < len(record):
        log.warning("the vectors so far are not kept for a later run: the disk is full")
    return written == len(record)
