"""The display while points are measured: a status, the time left, and a line for each finished point."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ragbench.results.records import Row
from ragbench.study.points import Point
from ragbench.terminal import Status, Terminal

_START_S = 5.0  # first guesses, until there are measurements: a server's start,
_POINT_S = 1.0  # and a warm-up


def expected_s(points: Sequence[Point], starts: int) -> float:
    """About how long `points` take with `starts` server starts, in seconds."""
    return sum(point.expected_s + _POINT_S for point in points) + starts * _START_S


class Progress(Status):
    """The status of a sweep over `points`, with `others` steps beside them; a search does not know its points."""

    def __init__(
        self, points: Sequence[Point] = (), *, starts: int = 0, others: int = 0, console: Terminal | None = None
    ) -> None:
        self._loads_left_s = {point.name: point.expected_s for point in points}
        self._loads_s = sum(self._loads_left_s.values())
        self._overhead_s = expected_s(points, starts) - self._loads_s
        self._sweep_began_s = time.monotonic()
        left_s = self.left_s if points else None
        super().__init__(total=len(points) + others or None, left_s=left_s, console=console)

    def row(self, row: Row) -> None:
        """A request is over."""
        self.count(is_ok=row.status == "ok")

    def point_ends(self, point: Point, summary: Mapping[str, Any]) -> None:
        """A point is written."""
        self._loads_left_s.pop(point.name, None)
        self.done(f"{point.name}: {in_one_line(summary)}")

    def left_s(self) -> float:
        """About how long the rest takes: the loads left, and the overhead per second of load.

        The overhead is the mean of the measured one and of the first guess, which weighs as a third of the load:
        after one point, with a server's start before it, the measured one alone says little.
        """
        loads_left_s = sum(self._loads_left_s.values())
        loads_done_s = self._loads_s - loads_left_s
        seen_s = max(0.0, self._began_s - self._sweep_began_s - loads_done_s) if loads_done_s else 0.0
        overhead = (seen_s + self._overhead_s / 3) / (loads_done_s + self._loads_s / 3) if self._loads_s else 0.0
        running_s = min(time.monotonic() - self._began_s, loads_left_s)
        return max(0.0, loads_left_s * (1 + overhead) - running_s)


def offered(summary: Mapping[str, Any]) -> str:
    """The load of a point, as in 40/s or 8 users."""
    rate = summary["offered_rps"]
    return f"{summary['concurrency']} users" if rate is None else f"{rate:g}/s"


def in_one_line(summary: Mapping[str, Any]) -> str:
    """A point's summary in one line."""
    found = [(name, summary[f"latency_{name}_s"]) for name in ("p50", "p99")]
    latency = "".join(f", {name} {value * 1000:.0f} ms" for name, value in found if value is not None)
    lost = summary["requests"] - summary["completed"]
    reason = f" ({summary['verdict_reason']})" if summary["verdict"] != "valid" else ""
    if not summary["requests"]:
        return f"{summary['verdict']} ({summary['verdict_reason']})"
    rate = summary["offered_rps"]
    asked = f"requests/s from {offered(summary)}" if rate is None else f"of {rate:g} requests/s"
    return f"{summary['verdict']}, {summary['throughput_rps']:.1f} {asked}{latency}, {lost} not ok{reason}"
