"""Which requests the replicas say they answered: their access logs, read as text. Opens what it is given, no more.

A line is `{"event": "answered", "status": 200, "request_id": ..., "server": "batched[pid]", ...}`; others are not ours.
It lies in the fleet's own log, which the replicas share, or in a log of each replica.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

_LONGEST_LINE = 1 << 20  # characters; of a longer one the parts are lines, and none of ours
_FRONT = "scaled"  # the balancer answers each request too; that is no second answer of a replica


def logs_of(folder: Path) -> list[Path]:
    """The logs of a fleet whose results lie in `folder`."""
    return sorted([*folder.glob("server*.log"), *folder.glob("**/replica-*.log")])


def answered_twice(logs: Iterable[Path]) -> int | None:
    """How many request ids were answered more than once; None where no log has any answer."""
    counts: Counter[str] = Counter()
    for log in logs:
        with log.open(encoding="utf-8", errors="replace") as lines:
            counts.update(answered_ids(iter(partial(lines.readline, _LONGEST_LINE), "")))
    return sum(count > 1 for count in counts.values()) if counts else None


def answered_ids(lines: Iterable[str]) -> Iterator[str]:
    """The request id of each 200 in a replica's log."""
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(entry, dict) or entry.get("event") != "answered" or entry.get("status") != 200:
            continue
        if not str(entry.get("server", "")).startswith(_FRONT) and isinstance(entry.get("request_id"), str):
            yield entry["request_id"]
