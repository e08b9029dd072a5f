"""Intervals for the mean and the quantiles of one run's latencies, and lines on those that a study lacks. Pure.

Latencies of neighbours in a queue are correlated: n of them are worth n / tau independent ones, where tau sums their
autocorrelation. In a short stretch of a busy queue the measured tau is too small, so there are two safeguards. The run
must be worth enough independent answers beyond the quantile, counted at its median, where tau varies least. And tau is
enlarged, the more so the less the run is worth.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.stats import beta, t

from ragbench.statistics.columns import WARM_UP_SHARE
from ragbench.statistics.intervals import Floats, Interval, autocovariance

FEWEST_BEYOND = 50  # independent answers beyond a quantile, without which it has no interval
FIGURES: Mapping[str, float] = MappingProxyType({"mean": 0.5, "p50": 0.5, "p95": 0.95, "p99": 0.99})
# Both were chosen on M/M/1 at 30 to 90% load, with 300 to 10,000 requests; `scripts/tables.py coverage` tests them on
# runs of other seeds.
_CAUTION = 6.0  # tau x (1 + this / root of the independent answers)
_UPWARD = 1.3  # the mean of a short run is more often too low than too high
_TAIL = 0.025  # left out at each end of a 95% interval


def correlation_time(values: Floats) -> float:
    """How many neighbours are worth one independent value; at least 1.

    Geyer's (1992) initial monotone sequence: autocovariances are added in pairs until a pair is not above 0, each pair
    limited to the pair before.
    """
    covariance = autocovariance(np.asarray(values, dtype=np.float64))
    if len(covariance) < 2 or covariance[0] <= 0:
        return 1.0
    pairs = covariance[: len(covariance) // 2 * 2].reshape(-1, 2).sum(axis=1)
    ended = pairs <= 0
    above = pairs[: int(np.argmax(ended))] if ended.any() else pairs
    total = 2 * float(np.sum(np.minimum.accumulate(above))) - covariance[0]
    return max(1.0, float(total / covariance[0]))


def independent_answers(latencies_s: Floats) -> float:
    """How many independent answers the run is worth, by which latencies lie above its median; they may be infinite."""
    return len(latencies_s) / correlation_time(_above(latencies_s, 0.5)) if len(latencies_s) else 0.0


def needed(figure: str) -> float:
    """How many independent answers a run must be worth for an interval of `mean`, `p50`, `p95` or `p99`."""
    return FEWEST_BEYOND / (1 - FIGURES[figure])


def latency_intervals(latencies_s: Floats) -> dict[str, Interval | None]:
    """The 95% interval of each of FIGURES over latencies in due order; None where the run is too short for it.

    An unanswered request is infinitely late. The mean is over the answered; a quantile has no interval where its upper
    end falls among the unanswered.
    """
    worth = independent_answers(latencies_s)
    intervals: dict[str, Interval | None] = dict.fromkeys(FIGURES)
    for figure, share in FIGURES.items():
        if worth >= needed(figure):
            intervals[figure] = _mean(latencies_s, worth) if figure == "mean" else _quantile(latencies_s, share, worth)
    return intervals


def too_short(requests: Sequence[float]) -> list[str]:
    """A line per figure that cannot have an interval, from how many requests each point is to send.

    There are at most as many independent answers as requests; in a busy queue there are far fewer.
    """
    within = [(1 - WARM_UP_SHARE) * count for count in requests]
    short = {figure: sum(count < needed(figure) for count in within) for figure in FIGURES}
    return [
        f"latency {figure}: no interval in {count} of {len(within)} points; it needs at least "
        f"{needed(figure):,.0f} requests after the first tenth, more where a queue is busy"
        for figure, count in short.items()
        if count
    ]


def left_empty(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per figure that lacks its interval in valid points (rows of summary.csv): by what factor they are short.

    Rows without a number of independent answers are left out.
    """
    judged = [row for row in rows if row["verdict"] == "valid" and row.get("independent_answers")]
    lines = []
    for figure in FIGURES:
        factors = [
            needed(figure) / row["independent_answers"] for row in judged if row[f"latency_{figure}_low_s"] is None
        ]
        short = sorted(factor for factor in factors if factor > 1)
        if short:
            ends = dict.fromkeys((_factor(short[0]), _factor(short[-1])))
            lines.append(
                f"latency {figure}: no interval in {len(short)} of {len(judged)} valid points; "
                f"they would have to be {' to '.join(ends)} times as long"
            )
    return lines


def _mean(latencies_s: Floats, worth: float) -> Interval | None:
    """By Student's t on the logarithm of the mean, since the error of a queue's mean is a factor."""
    answered = latencies_s[np.isfinite(latencies_s)]
    mean = float(np.mean(answered)) if answered.size > 1 else 0.0
    if mean <= 0 or worth * len(answered) / len(latencies_s) < needed("mean"):
        return None
    effective = len(answered) / (correlation_time(answered) * _caution(worth))
    error = float(np.std(answered, ddof=1)) / mean / math.sqrt(effective)
    half = float(t.ppf(1 - _TAIL, max(effective - 1, 1.0))) * error
    return Interval(
        max(mean * math.exp(-half), float(answered.min())), min(mean * math.exp(_UPWARD * half), float(answered.max()))
    )


def _quantile(latencies_s: Floats, share: float, worth: float) -> Interval | None:
    """Between two order statistics, after Clopper and Pearson, for as many values as the run is worth there."""
    tau = correlation_time(_above(latencies_s, share))
    effective = len(latencies_s) / (tau * _caution(worth))
    below, beyond = effective * share, effective * (1 - share)
    low = np.quantile(latencies_s, beta.ppf(_TAIL, below, beyond + 1), method="lower")
    high = np.quantile(latencies_s, beta.ppf(1 - _TAIL, below + 1, beyond), method="higher")
    return Interval(float(low), float(high)) if math.isfinite(high) else None


def _above(latencies_s: Floats, share: float) -> Floats:
    """1 where a latency lies above the quantile, 0 below, 0.5 where it is equal, as few distinct latencies are."""
    limit = np.quantile(latencies_s, share, method="higher")
    return ((latencies_s > limit) + (latencies_s >= limit).astype(np.float64)) / 2


def _caution(worth: float) -> float:
    return 1 + _CAUTION / math.sqrt(worth)


def _factor(factor: float) -> str:
    """Two digits: 1.2, 46, 2,500."""
    return f"{factor:.2g}" if factor < 10 else f"{float(f'{factor:.2g}'):,.0f}"
