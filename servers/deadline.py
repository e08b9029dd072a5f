"""How long a request may take: what its client asks for in X-Request-Timeout-S, at most what the server allows."""

import math
from collections.abc import Mapping

from servers.errors import BadRequest

__all__ = ["TIMEOUT", "time_limit_s"]

TIMEOUT = "X-Request-Timeout-S"


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
