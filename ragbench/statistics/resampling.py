"""Runs drawn again in blocks of neighbours, kept as how often each request was drawn. Pure; knows no figure's name."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ragbench.statistics.intervals import Floats

Counts = NDArray[np.int32]
Statistics = Callable[[Floats, Counts], Floats]  # (n,) values and (m, n) counts -> (m, k) figures


def counts_drawn(n: int, *, length: int, times: int, rng: np.random.Generator) -> Counts:
    """How often each of n values is drawn in circular blocks of `length`, (times, n): enough blocks to draw n or more.

    Counts take a tenth of the time of the drawn values themselves: a quantile then needs one sort, not one a resample.
    """
    starts = rng.integers(0, n, size=(times, -(-n // length)))
    rows = np.arange(times)[:, None] * (n + 1)
    is_round = starts + length > n  # such a block goes on at the first value
    stops = np.where(is_round, starts + length - n, starts + length)
    begun = np.bincount((rows + starts).ravel(), minlength=times * (n + 1))
    ended = np.bincount((rows + stops).ravel(), minlength=times * (n + 1))
    steps = (begun - ended).reshape(times, n + 1)
    steps[:, 0] += np.count_nonzero(is_round, axis=1)
    return np.cumsum(steps[:, :n], axis=1, dtype=np.int32)


def quantiles(values: Floats, counts: Counts, shares: Sequence[float]) -> Floats:
    """Quantiles of each resample by linear interpolation, (m, k). An infinite value is larger than all others."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[:, order], axis=1, dtype=np.int32)
    ordered = values[order]
    found = np.empty((len(counts), len(shares)))
    for column, share in enumerate(shares):
        places = (reached[:, -1] - 1) * share
        below = np.floor(places)
        low, high = (ordered[np.count_nonzero(reached <= at[:, None], axis=1)] for at in (below, np.ceil(places)))
        with np.errstate(invalid="ignore"):
            found[:, column] = np.where(low == high, low, low + (high - low) * (places - below))
    return found


def means(values: Floats, counts: Counts) -> Floats:
    """The mean of each resample, (m, 1)."""
    return ((counts @ values) / counts.sum(axis=1))[:, None]
