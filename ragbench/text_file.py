"""Text that others wrote: files are UTF-8, with or without a byte order mark; JSON may be anything.

Every fault is a ValueError whose message is one line.
"""

import json
from pathlib import Path
from typing import Any

__all__ = ["decoded", "parse_json", "read_text"]


def read_text(path: Path) -> str:
    """All of a file, line ends as they are, without a byte order mark. Raises OSError, ValueError naming the file."""
    return decoded(path.read_bytes(), name=str(path))


def decoded(raw: bytes, *, name: str) -> str:
    """The bytes of the file `name` as text. Raises ValueError."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{name} is not UTF-8: line {line} has the byte 0x{raw[error.start]:02x}; save it as UTF-8"
        ) from error


def parse_json(text: str | bytes) -> Any:
    """`json.loads`, but a document nested too deep is a ValueError too, as any other that cannot be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
