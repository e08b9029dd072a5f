"""Arrivals and queue waits of the last seconds."""

import re
from collections import deque
from itertools import repeat
from math import ceil


class Traffic:
    """A sliding window of `window_s` seconds."""

    def __init__(self, window_s: float = 5.0) -> None:
        self.window_s = window_s
        self._arrivals: deque[float] = deque()
        self._waits: deque[tuple[float, float]] = deque()

    def arrived(self, now: float) -> None:
        """Note an arrival."""
        self._arrivals.append(now)

    def arrived_elsewhere(self, now: float, count: int) -> None:
        """Note arrivals at a proxy that is not ours, since it was asked last."""
        self._arrivals.extend(repeat(now, count))

    def waited(self, now: float, queue_s: float) -> None:
        """Note the queue wait of an answered request."""
        self._waits.append((now, queue_s))

    def arrival_rps(self, now: float) -> float:
        """Arrivals per second over the window."""
        while self._arrivals and self._arrivals[0] < now - self.window_s:
            self._arrivals.popleft()
        return len(self._arrivals) / self.window_s

    def queue_wait_p95_s(self, now: float) -> float:
        """The 95th percentile (nearest rank) of the queue waits; 0.0 without an answer in the window."""
        while self._waits and self._waits[0][0] < now - self.window_s:
            self._waits.popleft()
        waits = sorted(wait for _, wait in self._waits)
        return waits[ceil(0.95 * len(waits)) - 1] if waits else 0.0


def queue_s(server_timing: str) -> float:
    """The queue wait in a replica's Server-Timing header; 0.0 if there is none."""
    match = re.search(r"\bqueue;(?:[^,]*;)?dur=(\d+(?:\.\d+)?)", server_timing)
    return float(match[1]) / 1000 if match else 0.0
