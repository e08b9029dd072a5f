"""What a user sees while a sweep runs: one line per finished point, and on a terminal a live bar.

Measures nothing.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ragbench.results.records import Row
from ragbench.study.points import Configuration, Point
from ragbench.terminal import Bar, Terminal

_START_S = 5.0  # first guesses, replaced by what is seen: a server's start,
_POINT_S = 1.0  # and a warm-up


def expected_s(points: Sequence[Point], starts: int) -> float:
    """About how long `points` take with `starts` server starts, in seconds."""
    return sum(point.expected_s + _POINT_S for point in points) + starts * _START_S


def minutes(seconds: float) -> str:
    """A duration to read: 45 s, 2 min 06 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Told what happens, it tells the user: a live bar where `console` is a terminal, plain lines otherwise."""

    def __init__(self, points: Sequence[Point], *, starts: int, console: Terminal | None = None) -> None:
        self._console = console or Terminal(stderr=True)
        self._total = len(points)
        self._done = 0
        self._left_s = {point.name: point.expected_s for point in points}
        self._expected_s = self._loads_s = sum(self._left_s.values())
        self._began_s = time.monotonic()
        self._overhead_s = expected_s(points, starts) - self._loads_s
        self._point_began_s = self._began_s
        self._statuses: Counter[str] = Counter()
        self._what = "getting ready"
        self._bar = Bar(self._what, total=self._total, console=self._console)

    def __enter__(self) -> "Progress":
        self._bar.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.__exit__(*exception)

    def note(self, text: str) -> None:
        """A line to keep."""
        self._console.print(text, soft_wrap=True)

    def starting(self, configuration: Configuration) -> None:
        """A server is being started."""
        self._show(f"starting {configuration.name}")

    def point_begins(self, point: Point) -> None:
        """A point is warmed up, then fired."""
        self._statuses.clear()
        self._point_began_s = time.monotonic()
        self._what = point.name
        self._show(f"{point.name} | {minutes(self.left_s())} left")
        if not self._console.is_terminal:
            self.note(f"[{self._done + 1}/{self._total}] {point.name} ({minutes(self.left_s())} left)")

    def row(self, row: Row) -> None:
        """A request is over."""
        self._statuses[row.status] += 1
        if self._console.is_terminal:
            ok = self._statuses["ok"]
            errors = self._statuses.total() - ok
            rate = ok / max(0.1, time.monotonic() - self._point_began_s)
            self._show(f"{self._what} | {rate:.1f} ok/s, {errors} errors | {minutes(self.left_s())} left")

    def point_ends(self, point: Point, summary: Mapping[str, Any]) -> None:
        """A point is written."""
        self._done += 1
        self._left_s.pop(point.name, None)
        self._bar.advance()
        self.note(f"[{self._done}/{self._total}] {point.name}: {told(summary)}")

    def left_s(self) -> float:
        """About how long the rest takes: the loads left, and everything else per second of load.

        That share is what was seen so far, and the first guess counted as if seen over a third of the load: after one
        point, which has a server's start before it, what was seen says little.
        """
        loads_left_s = sum(self._left_s.values())
        loads_done_s = self._loads_s - loads_left_s
        seen_s = max(0.0, self._point_began_s - self._began_s - loads_done_s) if loads_done_s else 0.0
        overhead = (seen_s + self._overhead_s / 3) / (loads_done_s + self._loads_s / 3) if self._loads_s else 0.0
        running_s = min(time.monotonic() - self._point_began_s, loads_left_s)
        return max(0.0, loads_left_s * (1 + overhead) - running_s)

    def _show(self, text: str) -> None:
        self._bar.show(text)


def offered(summary: Mapping[str, Any]) -> str:
    """The load of a point, as in 40/s or 8 users."""
    rate = summary["offered_rps"]
    return f"{summary['concurrency']} users" if rate is None else f"{rate:g}/s"


def told(summary: Mapping[str, Any]) -> str:
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
