"""File descriptors: how many a load needs at most, and this process's limit, checked before anything is started.

A request in flight is a connection and so a descriptor; an overloaded open loop has as many as come due within one
timeout.
"""

import math
import resource
from collections.abc import Sequence

import numpy as np

from ragbench.files.toml_tables import StudyError
from ragbench.study.arrivals import parse_arrival
from ragbench.study.points import Point
from ragbench.study.schedule import streams

_SPARE = 128  # for logs, pipes, modules, and the replica and health questions
_AMPLE = 65_536
_INSTANT_S = 1e-9  # due times are quotients, and a hair apart from where they should be


def needed(point: Point) -> int:
    """Descriptors that one process may need at worst, when nothing is answered before the timeout."""
    at_once = point.concurrency if point.offered_rps is None else _most_due_within(point, point.offered_rps)
    return math.ceil((at_once or 1) / point.load.processes) + _SPARE


def _most_due_within(point: Point, rate_rps: float) -> int:
    """The most requests of an open loop that come due within one timeout."""
    rng = streams(point.seed, point.arrival, rate_rps)[0]
    due_s = parse_arrival(point.arrival).draw(rate_rps, point.load.span, rng)
    before = np.searchsorted(due_s, due_s - point.load.timeout_s + _INSTANT_S, side="right")
    return int(np.max(np.arange(1, len(due_s) + 1) - before, initial=0))


def allow_files(points: Sequence[Point]) -> None:
    """Raise this process's limit to what `points` need, and servers' with it. Raises StudyError where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1 << 20)
    short = [point for point in points if needed(point) > hard]
    if short:
        raise StudyError([_too_few(max(short, key=needed), hard=hard)])
    wanted = min(hard, max([_AMPLE, *map(needed, points)]))
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _too_few(point: Point, *, hard: int) -> str:
    n, processes = needed(point), point.load.processes
    return (
        f"{point.name} may need {n} open files in each client process, and {hard} are allowed (ulimit -Hn). Allow more "
        f"with `sudo prlimit --pid $$ --nofile={n}:{n}`, use processes = {math.ceil(processes * n / hard) + 1}, "
        "or shorten timeout_s"
    )
