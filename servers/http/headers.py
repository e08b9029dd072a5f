"""The headers X-Request-Timeout-S, by which a client asks for less time, and X-Load, by which a server reports load."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from servers.errors import BadRequest

TIMEOUT = "X-Request-Timeout-S"
LOAD = "X-Load"
_TIMEOUT = TIMEOUT.lower().encode()
_FORM = re.compile(r"outstanding=(\d{1,9})(?:;wait_s=(\d{1,9}\.\d{1,6}))?")


def time_limit_s(headers: Mapping[bytes, bytes], most_s: float) -> float:
    """Seconds that a request may take: what its client asks for, at most `most_s`. Raises BadRequest."""
    value = headers.get(_TIMEOUT)
    if value is None:
        return most_s
    asked = value.decode("latin-1")
    try:
        limit_s = float(asked)
    except ValueError:
        limit_s = math.nan
    if not 0 < limit_s < math.inf:
        raise BadRequest(f"{TIMEOUT}: must be a number of seconds > 0, got {asked[:40]!r}")
    return min(limit_s, most_s)


class ReportedLoad(NamedTuple):
    """Requests at a server from all clients, and the predicted seconds until one more is answered, if known."""

    outstanding: int
    wait_s: float | None


def format_load(outstanding: int, wait_s: float | None) -> str:
    """The header's value."""
    return f"outstanding={outstanding}" + ("" if wait_s is None else f";wait_s={wait_s:.3f}")


def read_load(header: str | None) -> ReportedLoad | None:
    """The load in an X-Load header; None if there is none or it is malformed."""
    match = _FORM.fullmatch(header or "")
    return None if match is None else ReportedLoad(int(match[1]), None if match[2] is None else float(match[2]))
