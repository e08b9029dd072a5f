"""A server that stalls for a second, measured in open and in closed loop.

The open loop goes on sending, so it measures the wait of every request due during the stall. The user of a closed loop
waits, sends nothing and reports one slow request: coordinated omission. That is why load is open loop here.
"""

import math
from dataclasses import dataclass

import numpy as np

from ragbench.calibration.queueing import sojourns
from ragbench.calibration.trial import measured
from ragbench.measure.point import Measurement
from ragbench.statistics.columns import WARM_UP_SHARE

RATE_RPS = 50.0
SERVICE_S = 0.005
STALL_S = 1.0
P99_OFF = 0.05  # of the open loop's p99, from what arithmetic gives
LATENCIES = ("latency_p50_s", "latency_p95_s", "latency_p99_s", "latency_max_s")
BLIND_SHARE = 0.1  # of the open loop's p99: below it, a closed loop's p99 does not show the stall


@dataclass(frozen=True, slots=True)
class Seen:
    """The latencies of one kind of loop. `expected_p99_s`: by arithmetic; absent for the closed loop."""

    loop: str
    requests: int
    latency_p50_s: float
    latency_p95_s: float
    latency_p99_s: float
    latency_max_s: float
    expected_p99_s: float | None


async def both(*, duration_s: float) -> tuple[Seen, Seen]:
    """Open loop at 50/s, then one closed-loop user, each with a second's stall in the middle."""
    middle = round(RATE_RPS * duration_s / 2)
    flags = f"--service deterministic --mean-s {SERVICE_S} --stall-s {STALL_S} --stall-at-request {middle}"
    opened = await measured(flags, rate=RATE_RPS, duration_s=duration_s)
    closed = await measured(flags, concurrency=[1], duration_s=duration_s)
    return (_seen("open", opened, expected_p99_s(duration_s)), _seen("closed", closed, None))


def expected_p99_s(duration_s: float) -> float:
    """The open loop's p99 over the steady window, on a network without delay.

    The i-th request after the one that stalls is due i/50 s later and is answered i * 5 ms after it: it waits
    1.005 - 0.015 i seconds, for as long as that is more than its own service.
    """
    n = round(RATE_RPS * duration_s)
    due_s = np.arange(n) / RATE_RPS
    service_s = np.full(n, SERVICE_S)
    service_s[round(n / 2)] += STALL_S
    return float(np.percentile(sojourns(due_s, service_s)[due_s >= WARM_UP_SHARE * duration_s], 99))


def faults(opened: Seen, closed: Seen) -> list[str]:
    """What differs from the expected figures, in words."""
    lines = []
    expected = opened.expected_p99_s or math.nan
    if not abs(opened.latency_p99_s / expected - 1) <= P99_OFF:
        lines.append(f"open-loop p99 {opened.latency_p99_s:.3f} s, by arithmetic {expected:.3f} s")
    if not closed.latency_p99_s < BLIND_SHARE * opened.latency_p99_s:
        lines.append(f"the closed loop saw the stall: p99 {closed.latency_p99_s:.3f} s")
    return lines


def _seen(loop: str, measurement: Measurement, expected_s: float | None) -> Seen:
    summary = measurement.summary
    latencies = {name: getattr(summary, name) or math.nan for name in LATENCIES}
    return Seen(loop=loop, requests=summary.requests, **latencies, expected_p99_s=expected_s)
