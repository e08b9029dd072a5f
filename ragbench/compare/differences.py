"""How far two servers' figures lie apart, as a ratio with the error it may carry. Pure: knows no file and no design.

Ratios are kept as logarithms, in which half and double are equally far from one. The runs of all seeds are taken
together: one quantile of all their requests, never a mean of quantiles. The error comes from blocks of neighbouring
requests drawn again within each run. From three seeds on it is checked against how much the seeds differ: where that is
more than blocks explain, the starts of the servers differ too, and what is beyond the blocks is added (Birge's ratio).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t

from ragbench.statistics.intervals import (
    FEWEST_BLOCKS,
    FEWEST_VALUES,
    Counts,
    Floats,
    Interval,
    Statistic,
    block_length,
    counts_drawn,
    once,
)

Sample = tuple[Floats, Floats]  # the values of one run of a, and of the run of b with the same load and seed

ALPHA = 0.05  # of all intervals of a comparison together
FEWEST_SEEDS = 3  # to see how starts differ
# A few seeds say little of how starts differ. Degrees of freedom that the other cells of a comparison add to it, and
# that the assumption of equal starts adds. Without the latter three seeds showed up to 4% fewer differences than two;
# with more of it servers that differ only in their starts are told apart more often: `scripts/tables.py power`.
_SHARED = 2.0
_EQUAL = 4.0
_TIMES = 500
_FEWEST_TIMES = 200
_MOST_DRAWN = 20_000_000  # values drawn in all; beyond that, fewer resamples
_AT_ONCE = 2_000_000  # values held at once: 16 MB


@dataclass(frozen=True, slots=True)
class Difference:
    """ln(b / a) of one figure. `error`: its standard error within the runs, from `degrees` degrees of freedom.

    `resolution`: the smallest step that the figure can take, such as one answer more; no interval is narrower.
    `excess`: the variance between seeds by the variance that blocks explain; about 1 where all starts are alike. None:
    fewer than three seeds, or runs too short to tell. `starts_error`: the standard error that the seeds show beyond
    `error`. `cells`: how many such differences are to hold at once.
    """

    log_ratio: float
    error: float
    degrees: float
    is_paired: bool = False
    resolution: float = 0.0
    starts_error: float = 0.0
    seeds: int = 1
    excess: float | None = None
    cells: int = 1

    @property
    def method(self) -> str:
        """Where the error comes from, and whether request was compared with request."""
        return f"{'seeds pooled' if self.shows_starts else 'within the runs'}{', paired' if self.is_paired else ''}"

    @property
    def shows_starts(self) -> bool:
        """Whether there are seeds enough to see how starts of the servers differ."""
        return self.seeds >= FEWEST_SEEDS

    @property
    def percent(self) -> float:
        """How much more b is than a, in percent of a."""
        return percent(self.log_ratio)

    @property
    def interval(self) -> Interval:
        """Where the difference lies, in percent of a, wide enough that all `cells` such intervals hold at once.

        Student's t. Errors within the runs are independent from cell to cell, or nearly: Bonferroni. How a server
        started is in all its cells at once, so that part has few degrees of freedom but is not tried anew in each cell.
        """
        within = float(t.ppf(1 - ALPHA / 2 / self.cells, self.degrees))
        half = within * self.error
        if self.starts_error:
            starts = max(within, float(t.ppf(1 - ALPHA / 2, self.seeds - 1)))
            half = math.hypot(half, starts * self.starts_error)
        half = max(half, self.resolution)
        return Interval(percent(self.log_ratio - half), percent(self.log_ratio + half))

    def drawn(self, times: int, rng: np.random.Generator) -> Floats:
        """What the difference might have been, (times,)."""
        within = self.log_ratio + self.error * rng.standard_t(self.degrees, times)
        return within + self.starts_error * rng.standard_t(self.seeds - 1, times) if self.starts_error else within


def percent(log_ratio: float) -> float:
    """ln(b / a) as how much more b is than a, in percent of a."""
    return 100 * math.expm1(min(log_ratio, 700.0))  # e^709 is the largest float


def estimate(
    samples: Sequence[Sample], statistic: Statistic, *, is_paired: bool, rng: np.random.Generator, resolution: float = 0
) -> Difference | None:
    """The difference of `statistic` between two servers, with the error within the runs; `with_starts` adds the rest.

    `samples`: the values of each pair of runs, in the order of time. Paired: value i of a and of b belong together, and
    the same blocks are drawn from both. An infinite value is larger than all others. None: the runs are too short, or a
    figure is zero, or it is infinite in any resample and so may be that of a request without an answer.
    """
    assert not is_paired or all(len(a) == len(b) for a, b in samples), "paired samples have one length"
    lengths = [(block_length(a), block_length(b)) for a, b in samples]
    if is_paired:
        lengths = [(max(both), max(both)) for both in lengths]
    shares = zip(samples, lengths, strict=True)
    blocks = np.array([min(len(a) / length_a, len(b) / length_b) for (a, b), (length_a, length_b) in shares])
    free = float(blocks.sum()) - len(samples)
    if min(sum(map(len, side)) for side in zip(*samples, strict=True)) < FEWEST_VALUES or free < FEWEST_BLOCKS - 1:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        (ratio, *ratios), resampled = _log_ratios(samples, lengths, statistic, is_paired=is_paired, rng=rng)
        within, *alone = np.std(resampled, axis=1, ddof=1)
        error = within * math.sqrt(blocks.sum() / free)
        explained = np.mean(np.square(alone) * blocks / np.maximum(blocks - 1, 1)) if alone else np.nan
        excess = float(np.var(ratios, ddof=1) / explained) if ratios else math.nan
    if not np.isfinite([ratio, error]).all():
        return None
    # Of one run: with those of all, 10% of comparisons of equal queues over 5 seeds and 7 rates showed a difference.
    degrees = max(1.0, free / len(samples))
    known = excess if math.isfinite(excess) else None
    return Difference(float(ratio), float(error), degrees, is_paired, resolution, seeds=len(samples), excess=known)


def _log_ratios(
    samples: Sequence[Sample],
    lengths: Sequence[tuple[int, int]],
    statistic: Statistic,
    *,
    is_paired: bool,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """ln(b / a) as measured, (groups,), and of each resample, (groups, m).

    The first group is all runs together; each run alone follows, where they are enough to see how starts differ.
    """
    groups = [slice(None)]
    if len(samples) >= FEWEST_SEEDS:
        groups += [slice(number, number + 1) for number in range(len(samples))]

    def log_ratios(counts: Sequence[tuple[Counts, Counts]]) -> Floats:
        a, b = (
            np.array([statistic(np.concatenate(values[i]), np.concatenate(drawn[i], axis=1)) for i in groups])
            for values, drawn in zip(zip(*samples, strict=True), zip(*counts, strict=True), strict=True)
        )
        return np.log(b / a)

    def draw(times: int) -> Iterator[tuple[Counts, Counts]]:
        for (a, b), (of_a, of_b) in zip(samples, lengths, strict=True):
            counts = counts_drawn(len(a), length=of_a, times=times, rng=rng)
            yield counts, counts if is_paired else counts_drawn(len(b), length=of_b, times=times, rng=rng)

    size = max(sum(map(len, side)) for side in zip(*samples, strict=True))
    times, step = min(_TIMES, max(_FEWEST_TIMES, _MOST_DRAWN // size)), max(1, _AT_ONCE // size)
    resampled = [log_ratios(list(draw(min(step, times - first)))) for first in range(0, times, step)]
    return log_ratios([(once(a), once(b)) for a, b in samples])[:, 0], np.concatenate(resampled, axis=1)


def with_starts(differences: Sequence[Difference]) -> list[Difference]:
    """Differences whose seeds differ for the same reasons, with what starts add to the error of each."""
    known = [(each.excess, each.seeds - 1) for each in differences if each.excess is not None]
    shared = float(np.average([excess for excess, _ in known], weights=[n for _, n in known])) if known else 1.0
    added = []
    for each in differences:
        own, degrees = shared if each.excess is None else each.excess, each.seeds - 1
        excess = (degrees * own + _SHARED * shared + _EQUAL) / (degrees + _SHARED + _EQUAL)
        added.append(each.error * math.sqrt(max(0.0, excess - 1)) if each.shows_starts else 0.0)
    return [replace(each, starts_error=error) for each, error in zip(differences, added, strict=True)]
