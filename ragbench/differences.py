"""How far two servers' figures lie apart, as a ratio with the error it may carry. Pure: knows no file and no design.

Ratios are kept as logarithms, in which half and double are equally far from one. An error comes from repeats with other
seeds where there are at least three of them; else from blocks of neighbouring requests drawn again within the runs, and
then it speaks of these runs only: what another start of the same server would have done is not in it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from ragbench.intervals import FEWEST_BLOCKS, FEWEST_VALUES, Floats, Interval, block_indices, block_length

Method = Literal["seeds, paired", "seeds", "within the runs, paired", "within the runs"]
Statistics = Callable[[Floats], Floats]  # (m, n) resamples -> (m, k) figures

FEWEST_SEEDS = 3
_TIMES = 1000
_FEWEST_TIMES = 200
_MOST_DRAWN = 20_000_000  # values drawn in all; beyond that, fewer resamples
_AT_ONCE = 2_000_000  # values held at once: 16 MB


@dataclass(frozen=True, slots=True)
class Difference:
    """ln(b / a) of one figure. `error`: its standard error, from `degrees` degrees of freedom.

    `resolution`: the smallest step that the figure can take, such as one answer more; no interval is narrower.
    """

    log_ratio: float
    error: float
    degrees: float
    method: Method
    resolution: float = 0.0

    @property
    def percent(self) -> float:
        """How much more b is than a, in percent of a."""
        return percent(self.log_ratio)

    def interval(self, level: float = 0.95) -> Interval:
        """Where the difference lies, in percent of a; Student's t."""
        half = max(float(t.ppf(0.5 + level / 2, self.degrees)) * self.error, self.resolution)
        return Interval(percent(self.log_ratio - half), percent(self.log_ratio + half))


def percent(log_ratio: float) -> float:
    """ln(b / a) as how much more b is than a, in percent of a."""
    return 100 * math.expm1(min(log_ratio, 700.0))  # e^709 is the largest float


def over_seeds(a: ArrayLike, b: ArrayLike, *, is_paired: bool, resolution: float = 0.0) -> Difference | None:
    """From one figure a seed on each side, in the same order of seeds where paired. None: too few seeds, or a zero.

    Paired: t interval of the mean of ln(b / a). Otherwise Welch's, of the difference of the mean logarithms.
    """
    figures = [np.asarray(side, dtype=np.float64) for side in (a, b)]
    if any(len(side) < FEWEST_SEEDS or not np.all(side > 0) for side in figures):
        return None
    logs_a, logs_b = (np.log(side) for side in figures)
    if is_paired:
        ratios = logs_b - logs_a
        error = float(np.std(ratios, ddof=1)) / math.sqrt(len(ratios))
        return Difference(float(np.mean(ratios)), error, len(ratios) - 1, "seeds, paired", resolution)
    shares = [float(np.var(logs, ddof=1)) / len(logs) for logs in (logs_a, logs_b)]
    below = sum(share**2 / (len(logs) - 1) for share, logs in zip(shares, (logs_a, logs_b), strict=True))
    degrees = sum(shares) ** 2 / below if below > 0 else len(logs_a) + len(logs_b) - 2
    apart = float(np.mean(logs_b) - np.mean(logs_a))
    return Difference(apart, math.sqrt(sum(shares)), degrees, "seeds", resolution)


def within_runs(
    runs: Sequence[tuple[Floats, Floats]],
    statistics: Statistics,
    *,
    is_paired: bool,
    rng: np.random.Generator,
    resolution: float = 0.0,
) -> list[Difference] | None:
    """One Difference per statistic, from pairs of runs (values of a, values of b) in the order of time.

    Paired: value i of a and of b belong together, and the same blocks are drawn from both. An absent value is nan.
    None where a run is too short to say, or a figure is zero or absent.
    """
    drawn = [_drawn(a, b, statistics, is_paired=is_paired, rng=rng.spawn(1)[0]) for a, b in runs]
    told = [each for each in drawn if each is not None]
    if not told or len(told) < len(runs):
        return None
    ratios = np.mean([ratio for ratio, _, _ in told], axis=0)
    errors = np.sqrt(np.sum([error**2 for _, error, _ in told], axis=0)) / len(told)
    degrees = sum(blocks - 1 for _, _, blocks in told)
    if not (np.isfinite(ratios).all() and np.isfinite(errors).all()):
        return None
    method: Method = "within the runs, paired" if is_paired else "within the runs"
    return [Difference(float(r), float(e), degrees, method, resolution) for r, e in zip(ratios, errors, strict=True)]


def _drawn(
    a: Floats, b: Floats, statistics: Statistics, *, is_paired: bool, rng: np.random.Generator
) -> tuple[Floats, Floats, float] | None:
    """ln(b / a) of each statistic, its standard error over resamples, and how many blocks a resample has."""
    assert not is_paired or len(a) == len(b), "what belongs together has one length"
    if min(len(a), len(b)) < FEWEST_VALUES:
        return None
    lengths = [block_length(_filled(side)) for side in (a, b)]
    if is_paired:
        lengths = [max(lengths)] * 2
    blocks = min(len(side) / length for side, length in zip((a, b), lengths, strict=True))
    if blocks < FEWEST_BLOCKS:
        return None
    times = min(_TIMES, max(_FEWEST_TIMES, _MOST_DRAWN // max(len(a), len(b))))
    each = max(1, _AT_ONCE // max(len(a), len(b)))
    ratios = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for first in range(0, times, each):
            count = min(each, times - first)
            places = block_indices(len(a), length=lengths[0], times=count, rng=rng)
            other = places if is_paired else block_indices(len(b), length=lengths[1], times=count, rng=rng)
            ratios.append(np.log(statistics(b[other]) / statistics(a[places])))
        own = np.log(statistics(b[None, :])[0] / statistics(a[None, :])[0])
        spread = np.std(np.concatenate(ratios), axis=0, ddof=1)
    return own, spread * math.sqrt(blocks / (blocks - 1)), blocks


def _filled(values: Floats) -> Floats:
    absent = np.isnan(values)
    return np.where(absent, 0.0 if absent.all() else float(np.mean(values[~absent])), values)


def quantiles(values: Floats, shares: Sequence[float]) -> Floats:
    """Quantiles of each row by linear interpolation, absent values left out: (m, n) -> (m, k); nan where all are."""
    ordered = np.sort(values, axis=1)  # nan last
    count = np.count_nonzero(~np.isnan(ordered), axis=1)
    places = np.maximum(count - 1, 0)[:, None] * np.asarray(shares)
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0)[:, None])
    low, high = (np.take_along_axis(ordered, at, axis=1) for at in (below, above))
    return low + (high - low) * (places - below)


def totals(values: Floats) -> Floats:
    """The sum of each row, (m, n) -> (m, 1)."""
    return values.sum(axis=1, keepdims=True)
