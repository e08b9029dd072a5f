from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import norm

from ragbench.statistics.intervals import (
    Interval,
    block_length,
    bootstrap,
    counts_drawn,
    mean,
    once,
    quantile,
)
from tests.ragbench.queues import steady_latencies


def autoregressive(coefficient, n, *, rng):
    return lfilter([1.0], [1.0, -coefficient], rng.normal(size=n + 500))[500:]


def iid_interval(values, statistic, *, rng, times=300):
    """What must not be done: resample as if neighbours were strangers."""
    draws = rng.integers(0, len(values), (times, len(values)))
    counts = np.stack([np.bincount(draw, minlength=len(values)) for draw in draws]).astype(np.int32)
    figures = statistic(values, counts)
    return Interval(*np.quantile(figures, [0.025, 0.975]))


def coverage(draw, truth, statistic, *, repeats):
    """(block, iid): how often the 95% interval of each holds the truth."""
    held = np.zeros(2)
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        values = draw(rng)
        found = bootstrap(values, statistic, rng=rng, times=300)
        assert found is not None
        held += [one.low <= truth <= one.high for one in (found, iid_interval(values, statistic, rng=rng))]
    return held / repeats


def test_correlated_values_are_covered_by_blocks_and_missed_by_iid():
    block, iid = coverage(lambda rng: autoregressive(0.9, 1000, rng=rng), 0.0, mean, repeats=100)
    assert block >= 0.88
    assert iid <= 0.55


def test_the_mean_of_a_queue_is_covered_by_blocks_and_missed_by_iid():
    block, iid = coverage(lambda rng: steady_latencies(0.5, 2000, rng=rng), 1.0, mean, repeats=80)
    assert block >= 0.87
    assert iid <= 0.6


@pytest.mark.slow
def test_the_p95_of_a_queue_is_covered_by_blocks_and_missed_by_iid():
    # M/M/1: time in the system is exponential with mean rho / (1 - rho), so p95 is ln 20 times 1.
    block, iid = coverage(
        lambda rng: steady_latencies(0.5, 2000, rng=rng), np.log(20), partial(quantile, share=0.95), repeats=60
    )
    assert block >= 0.8
    assert iid <= 0.6


def test_independent_values_get_about_the_interval_of_the_normal():
    widths = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = bootstrap(rng.normal(size=2000), mean, rng=rng)
        widths.append(found.high - found.low)
    assert np.mean(widths) == pytest.approx(2 * norm.ppf(0.975) / np.sqrt(2000), rel=0.1)


@pytest.mark.parametrize(("coefficient", "low", "high"), [(0.0, 10, 30), (0.5, 20, 60), (0.9, 90, 250)])
def test_blocks_are_longer_the_longer_the_memory(coefficient, low, high):
    lengths = [block_length(autoregressive(coefficient, 2000, rng=np.random.default_rng(seed))) for seed in range(15)]
    assert low <= np.median(lengths) <= high


@given(st.integers(1, 400), st.floats(0.0, 0.999))
def test_a_block_is_at_least_the_cube_root_and_at_most_the_whole(n, coefficient):
    values = autoregressive(coefficient, n, rng=np.random.default_rng(n))
    assert n ** (1 / 3) <= block_length(values) + 1e-9
    assert block_length(values) <= n


def test_values_that_do_not_vary_have_the_least_block_and_no_width():
    assert block_length(np.ones(1000)) == 10
    assert bootstrap(np.ones(1000), mean, rng=np.random.default_rng(1)) == Interval(1.0, 1.0)


def test_a_pattern_that_repeats_is_no_long_memory():
    """Even arrivals at a batching server: latencies go up and down for ever, and their mean hardly varies."""
    sawtooth = np.tile(np.arange(8.0), 50)
    found = bootstrap(sawtooth, mean, rng=np.random.default_rng(1))
    assert found is not None
    assert found.low < 3.5 < found.high
    assert found.high - found.low < 0.2  # independent, it would be 0.45


def test_too_short_a_run_has_no_interval():
    rng = np.random.default_rng(1)
    assert bootstrap(rng.normal(size=39), mean, rng=rng) is None
    assert bootstrap(rng.normal(size=40), mean, rng=rng) is not None
    assert bootstrap(np.arange(60.0), mean, rng=rng) is None  # all of it one trend
    assert bootstrap(rng.normal(size=60), mean, rng=rng, length=13) is None  # fewer than five blocks


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(3).exponential(size=500)
    one, other = (bootstrap(values, mean, rng=np.random.default_rng(7)) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(("n", "length"), [(12, 3), (10, 4), (7, 7), (5, 1)])
def test_blocks_of_neighbours_are_drawn_round_the_end(n, length):
    counts = counts_drawn(n, length=length, times=300, rng=np.random.default_rng(1))
    assert (counts.sum(axis=1) == -(-n // length) * length).all()
    assert counts.min() >= 0
    one = counts_drawn(n, length=n, times=50, rng=np.random.default_rng(2))
    assert (one == 1).all()
    assert counts.mean(axis=0) == pytest.approx(counts.mean(), rel=0.2)


def test_quantiles_and_means_are_numpys_of_what_was_drawn():
    rng = np.random.default_rng(3)
    values = rng.exponential(size=50)
    counts = counts_drawn(50, length=5, times=4, rng=rng)
    drawn = [np.repeat(values, each) for each in counts]
    for share in (0.5, 0.95):
        assert quantile(values, counts, share) == pytest.approx([np.quantile(each, share) for each in drawn])
    assert mean(values, counts) == pytest.approx([np.mean(each) for each in drawn])


def test_an_infinite_value_is_larger_than_all_others():
    values = np.array([np.inf, 1.0, 2.0, 3.0, np.inf])
    figures = [quantile(values, once(values), share).tolist() for share in (0.25, 0.5, 0.75, 0.9)]
    assert figures == [[2.0], [3.0], [np.inf], [np.inf]]
