"""What a measuring process says on stdout, a line of JSON each: progress, a row, a device's rates."""

import json
from dataclasses import dataclass
from typing import Any

KINDS = {"progress": str, "row": dict, "rates": dict}


@dataclass(frozen=True, slots=True)
class Message:
    """One line: its kind, one of KINDS, and what it holds."""

    kind: str
    content: Any


def read_message(line: bytes) -> Message:
    """The message in a line. Raises ValueError for any other line."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, dict) and len(told) == 1:
        ((kind, content),) = told.items()
        if kind in KINDS and isinstance(content, KINDS[kind]):
            return Message(kind, content)
    shown = line.decode(errors="replace").strip()[:100]
    raise ValueError(f"a line on stdout that is neither progress nor a row: {shown!r}")
