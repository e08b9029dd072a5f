"""Text of any origin: regular files of a bounded size, UTF-8 with or without a byte order mark; JSON.

Every fault is a ValueError with a message of one line.
"""

import json
import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MOST_NESTED = 100
MOST_TEXT = 64 << 20  # bytes of a study, a manifest, a set of questions
MOST_TABLE = 2 << 30  # of a CSV: the rows of a load as long as there can be


def read_bytes(path: Path, *, most: int = MOST_TABLE) -> bytes:
    """All of a regular file of at most `most` bytes. Raises OSError, and ValueError naming the file."""
    with open(path, "rb", opener=_at_once) as file:
        seen = os.fstat(file.fileno())
        if not stat.S_ISREG(seen.st_mode):
            raise ValueError(f"{path} is no regular file")
        raw = file.read(most + 1) if seen.st_size <= most else b""
    if len(raw) > most or seen.st_size > most:
        raise ValueError(f"{path} is larger than the {most >> 20} MiB that are read of such a file")
    return raw


def _at_once(name: str, flags: int) -> int:
    """Open a pipe without waiting for a writer."""
    return os.open(name, flags | os.O_NONBLOCK)


def read_text(path: Path, *, most: int = MOST_TEXT) -> str:
    """All of a file, line ends as they are, without a byte order mark. Raises OSError, ValueError naming the file."""
    return decoded(read_bytes(path, most=most), name=str(path))


def decoded(raw: bytes, *, name: str) -> str:
    """The bytes of the file `name` as text. Raises ValueError."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{name} is not UTF-8: line {line} has the byte 0x{raw[error.start]:02x}; save it as UTF-8"
        ) from error


def parse_reported(text: str | bytes) -> Any:
    """The JSON of a service, such that it can be written again: NaN and infinity, which JSON has not, are None.

    Raises ValueError, also where it is nested more than MOST_NESTED deep: json writes less depth than it reads.
    """
    try:
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    level: list[object] = [value]
    for _ in range(MOST_NESTED):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise ValueError("it is nested too deep")
    return value


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _inside(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
