"""How fast and how evenly the client sends on this machine: rising rates at a server that answers at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from ragbench.calibration.trial import measured
from ragbench.measure.point import Measurement

RISING_RPS = (1000.0, 1500.0, 2000.0, 3000.0, 4000.0, 6000.0, 8000.0, 12000.0)
FIRST_RPS = 500.0
# Limits of the first rate.
RATE_OFF = 0.002
GAP_CV = 0.1
LAG_P99_S = 0.002

_TRIES = 3  # at a rate, while other programs contaminate it


@dataclass(frozen=True, slots=True)
class Sent:
    """One rate from one number of client processes; even spacing. `gap_cv`: of the times between sends."""

    processes: int
    asked_rps: float
    duration_s: float
    sent_rps: float
    gap_cv: float
    send_lag_p50_s: float
    send_lag_p95_s: float
    send_lag_p99_s: float
    send_lag_max_s: float
    latency_p50_s: float
    latency_p99_s: float
    client_cpu_cores: float | None
    verdict: str
    verdict_reason: str

    @property
    def is_clean(self) -> bool:
        """Whether a point at this rate could be quoted."""
        return self.verdict == "valid"

    @property
    def is_as_asked(self) -> bool:
        """Whether the rate, its spacing and its lag are within the limits of the first rate."""
        is_rate = abs(self.sent_rps / self.asked_rps - 1) <= RATE_OFF
        return is_rate and self.gap_cv < GAP_CV and self.send_lag_p99_s <= LAG_P99_S


def clients(processes: int) -> str:
    """So many client processes, in words."""
    return f"{processes} client process{'es' if processes > 1 else ''}"


async def rising(
    processes: int,
    *,
    first_s: float,
    each_s: float,
    rising_rps: Sequence[float] = RISING_RPS,
    report: Callable[[str], None],
) -> list[Sent]:
    """The first rate for `first_s`, then each higher one for `each_s` until the client is the limit."""
    found: list[Sent] = []
    for rate in (FIRST_RPS, *rising_rps):
        duration_s = each_s if found else first_s
        report(f"{clients(processes)} at {rate:g}/s for {duration_s:g} s")
        for _ in range(_TRIES):
            sent = _sent(await measured("--service null", rate=rate, duration_s=duration_s, processes=processes))
            if sent.verdict != "contaminated":
                break
            report(f"again: {sent.verdict_reason}")
        found.append(sent)
        if _is_limit(sent) and len(found) > 1:
            break
    return found


def highest_clean_rps(found: Sequence[Sent]) -> float | None:
    """The highest valid rate below the first that the client could not send; None where there was none.

    A rate at which another program disturbed the measurement says nothing either way.
    """
    below = list(takewhile(lambda sent: not _is_limit(sent), found))
    return max((sent.asked_rps for sent in below if sent.is_clean), default=None)


def _is_limit(sent: Sent) -> bool:
    return sent.verdict not in ("valid", "contaminated")


def _sent(measurement: Measurement) -> Sent:
    summary, point = measurement.summary, measurement.point
    times = np.sort([row.sent_s for row in measurement.rows if row.sent_s is not None])
    lags = np.array([row.send_lag_s for row in measurement.rows if row.send_lag_s is not None])
    gaps = np.diff(times)
    p50, p95, p99, most = np.percentile(lags, [50, 95, 99, 100]).tolist() if len(lags) else [math.nan] * 4
    return Sent(
        processes=point.load.processes,
        asked_rps=point.offered_rps or 0.0,
        duration_s=point.load.duration_s or 0.0,
        # n sends stand for n mean gaps: the last one's own gap is not over when it leaves.
        sent_rps=len(gaps) / float(times[-1] - times[0]) if len(gaps) else 0.0,
        gap_cv=float(np.std(gaps) / np.mean(gaps)) if len(gaps) else 0.0,
        send_lag_p50_s=p50,
        send_lag_p95_s=p95,
        send_lag_p99_s=p99,
        send_lag_max_s=most,
        latency_p50_s=summary.latency_p50_s or math.nan,
        latency_p99_s=summary.latency_p99_s or math.nan,
        **{name: getattr(summary, name) for name in ("client_cpu_cores", "verdict", "verdict_reason")},
    )
