"""Block bootstrap intervals for the figures of one run, whose values are a time series. Pure.

Latencies of neighbours in a queue are correlated, so an interval that takes them for independent is several times too
narrow. Here blocks of neighbours are drawn, long enough to hold values that depend on each other.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]  # how often each value was drawn
Statistic = Callable[[Floats, Counts], Floats]  # (n,) values and (m, n) counts -> (m,) figures

FEWEST_VALUES = 40
FEWEST_BLOCKS = 5
_LEVEL = 0.95
_LONGEST_SHARE = 8  # of the run: beyond an eighth, longer blocks leave too few of them


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of a confidence interval."""

    low: float
    high: float


def block_length(values: Floats) -> int:
    """How many neighbours form a block, from the autocorrelation; at least n^(1/3), at most n.

    An infinite value counts as the mean of the others.

    Three times the length of Politis and White (2004, corrected with Patton 2009; circular blocks), but no more than an
    eighth of the run. Their length is best for a variance; in the tails of a queue, where correlation is long and
    faint, its intervals cover too seldom. Three times it covered best of what was tried (once, twice and three times
    it, three times the integrated correlation time, a tenth of the run). The length is at least the lag at which
    correlation is first within noise; where that is more than a fifth of the run, the run is too short for an interval.
    """
    n = len(values)
    least = max(1, math.ceil(n ** (1 / 3)))
    is_known = np.isfinite(values)
    covariance = autocovariance(np.where(is_known, values, np.mean(values[is_known]) if is_known.any() else 0.0))
    if n < 4 or covariance[0] <= 0:
        return least
    small = np.abs(covariance / covariance[0]) < 2 * math.sqrt(math.log10(n) / n)
    first = int(np.argmax(small)) if small.any() else n
    return max(least, min(3 * _politis_white(covariance, small), n // _LONGEST_SHARE), first)


def _politis_white(covariance: Floats, small: NDArray[np.bool_]) -> int:
    """Their block length, from the autocovariances up to twice the lag where they vanish, under a flat-top window.

    Autocorrelations vanish after the lag that a whole run of `small` ones follows.
    """
    n = len(covariance)
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    within = np.convolve(small[1 : n // 2 + 1], np.ones(run), mode="valid") == run if n // 2 >= run else np.zeros(0)
    vanished = max(1, int(np.argmax(within)) if within.any() else n // 2)
    last = min(2 * vanished, n - 1)
    lags = np.arange(1, last + 1)
    weighted = np.minimum(1.0, 2 * (1 - lags / last)) * covariance[1 : last + 1]
    spread = covariance[0] + 2 * float(np.sum(weighted))
    slope = 2 * float(np.sum(lags * weighted))
    return min(n, math.ceil((1.5 * (slope / spread) ** 2 * n) ** (1 / 3))) if spread > 0 else 1


def autocovariance(values: Floats) -> Floats:
    """At lags 0 .. n - 1, by FFT."""
    n = len(values)
    size = 1 << max(1, (2 * n - 1).bit_length())
    spectrum = np.fft.rfft(values - values.mean() if n else values, size)
    return np.fft.irfft(np.abs(spectrum) ** 2, size)[:n] / max(n, 1)


def bootstrap(
    values: Floats, statistic: Statistic, *, rng: np.random.Generator, times: int = 1000, length: int | None = None
) -> Interval | None:
    """The 95% interval of `statistic` over `values` in their order, some thousands at most.

    Percentiles of the resampled figures, widened by the ratio of Student's t to the normal; it has a degree of freedom
    less than there are blocks. None for fewer than 40 values or 5 blocks.
    """
    n = len(values)
    length = length or block_length(values)
    blocks = n / length
    if n < FEWEST_VALUES or blocks < FEWEST_BLOCKS:
        return None
    figures = statistic(values, counts_drawn(n, length=length, times=times, rng=rng))
    own = statistic(values, once(values))[0]
    low, high = 0.5 - _LEVEL / 2, 0.5 + _LEVEL / 2
    widening = math.sqrt(blocks / (blocks - 1)) * t.ppf(high, blocks - 1) / norm.ppf(high)
    return Interval(*(float(own + (end - own) * widening) for end in np.quantile(figures, [low, high])))


def counts_drawn(n: int, *, length: int, times: int, rng: np.random.Generator) -> Counts:
    """How often each of n values is drawn in circular blocks of `length`, (times, n), at least n values a resample.

    Counts take a tenth of the time of the drawn values: a quantile then needs one sort, not one per resample.
    """
    starts = rng.integers(0, n, size=(times, -(-n // length)))
    wraps = starts + length > n  # such a block continues at the first value
    steps = np.zeros((times, n + 1), np.int32)
    steps[:, 0] = np.count_nonzero(wraps, axis=1)
    rows = np.arange(times)[:, None]
    np.add.at(steps, (rows, starts), 1)
    np.subtract.at(steps, (rows, starts + length - n * wraps), 1)
    return np.cumsum(steps[:, :n], axis=1, dtype=np.int32)


def once(values: Floats) -> Counts:
    """The counts of a sample in which each value occurs once, as measured, (1, n)."""
    return np.ones((1, len(values)), np.int32)


def quantile(values: Floats, counts: Counts, share: float) -> Floats:
    """The quantile of each resample by linear interpolation, (m,). An infinite value is larger than all others."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[:, order], axis=1, dtype=np.int32)
    places = (reached[:, -1] - 1) * share
    below = np.floor(places)
    low, high = (
        values[order[[np.searchsorted(row, rank, side="right") for row, rank in zip(reached, ranks, strict=True)]]]
        for ranks in (below.astype(np.int32), np.ceil(places).astype(np.int32))
    )
    with np.errstate(invalid="ignore"):
        return np.where(low == high, low, low + (high - low) * (places - below))


def mean(values: Floats, counts: Counts) -> Floats:
    """The mean of each resample, (m,)."""
    figures: Floats = (counts @ values) / counts.sum(axis=1)
    return figures
