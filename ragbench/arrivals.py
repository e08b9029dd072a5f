"""When requests are due: evenly spaced, or at random as independent users send them.

Pure: a rate, a span and a generator in, due times out. Nothing is sent and no clock is read here.

To add a process, write one function of the same shape and give it a line in `ARRIVALS`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Span:
    """How long a load lasts: `duration_s` seconds, or exactly `requests` arrivals. One of the two is None."""

    duration_s: float | None = None
    requests: int | None = None

    def __post_init__(self) -> None:
        if (self.duration_s is None) == (self.requests is None):
            raise ValueError("exactly one of duration_s and requests is needed")
        if self.duration_s is not None and not 0 < self.duration_s < math.inf:
            raise ValueError(f"duration_s must be > 0, got {self.duration_s:g}")
        if self.requests is not None and self.requests < 1:
            raise ValueError(f"requests must be >= 1, got {self.requests}")

    def expected_s(self, rate_rps: float) -> float:
        """Mean length of the load at `rate_rps`, in seconds."""
        return self.duration_s if self.duration_s is not None else (self.requests or 0) / rate_rps


Arrival = Callable[[float, Span, np.random.Generator], Times]


def ideal(rate_rps: float, span: Span, rng: np.random.Generator) -> Times:
    """Evenly spaced: 0, 1/rate, 2/rate, ... (n,) s. Each is a quotient, not a running sum, so no error builds up."""
    del rng
    n = span.requests
    if n is None:
        # 20/s for 3 s is 60 arrivals, also where the product comes out a hair above a whole number.
        n = math.ceil(rate_rps * (span.duration_s or 0.0) * (1 - 1e-12))
    return np.arange(n, dtype=np.float64) / rate_rps


def poisson(rate_rps: float, span: Span, rng: np.random.Generator) -> Times:
    """Independent exponential gaps of mean 1/rate. -> (n,) s, increasing.

    Over a duration the count is random, as it is for real users; it is never rescaled to rate x duration.
    """
    return _renewal(lambda n: rng.exponential(1 / rate_rps, n), rate_rps, span)


def _renewal(draw_gaps: Callable[[int], Times], rate_rps: float, span: Span) -> Times:
    """Sum up gaps until `span` is over. `draw_gaps(n)` gives the next n gaps in seconds, of mean 1/rate."""
    if span.requests is not None:
        return np.cumsum(draw_gaps(span.requests))
    end_s = span.duration_s or 0.0
    block = max(16, math.ceil(rate_rps * end_s))
    times = np.cumsum(draw_gaps(block))
    while times[-1] < end_s:
        times = np.concatenate([times, times[-1] + np.cumsum(draw_gaps(block))])
    return times[times < end_s]


ARRIVALS: dict[str, Arrival] = {"ideal": ideal, "poisson": poisson}
