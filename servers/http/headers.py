"""How long a request may take: what its client asks for in X-Request-Timeout-S, at most what the server allows."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from servers.errors import BadRequest

__all__ = ["LOAD", "TIMEOUT", "Told", "read_load", "time_limit_s", "told_load"]

TIMEOUT = "X-Request-Timeout-S"
LOAD = "X-Load"
_FORM = re.compile(r"outstanding=(\d{1,9})(?:;wait_s=(\d{1,9}\.\d{1,6}))?")


def time_limit_s(headers: Mapping[str, str], most_s: float) -> float:
    """Seconds from now. Raises BadRequest on what is no time."""
    asked = headers.get(TIMEOUT)
    if asked is None:
        return most_s
    try:
        limit_s = float(asked)
    except ValueError:
        limit_s = math.nan
    if not 0 < limit_s < math.inf:
        raise BadRequest(f"{TIMEOUT}: must be a number of seconds > 0, got {asked[:40]!r}")
    return min(limit_s, most_s)


class Told(NamedTuple):
    """Requests that are at a server, whoever sent them, and seconds until one more would be answered, where known."""

    outstanding: int
    wait_s: float | None


def told_load(outstanding: int, wait_s: float | None) -> str:
    """The header's value."""
    return f"outstanding={outstanding}" + ("" if wait_s is None else f";wait_s={wait_s:.3f}")


def read_load(header: str | None) -> Told | None:
    """What a header says; None where it says nothing that can be read."""
    found = _FORM.fullmatch(header or "")
    return None if found is None else Told(int(found[1]), None if found[2] is None else float(found[2]))
