import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ragbench.compare.differences import Difference, estimate, percent, with_starts
from ragbench.statistics.intervals import mean, quantile


def _median(values, counts):
    return quantile(values, counts, 0.5)


def _estimate(runs, statistics=_median, *, is_paired, seed=0, **options):
    return estimate(runs, statistics, is_paired=is_paired, rng=np.random.default_rng(seed), **options)


def _runs(count, *, n=400, start=0.0, seed=3):
    """Pairs of independent runs; the starts of b are off by a factor of e^(start x normal)."""
    rng = np.random.default_rng(seed)
    return [(rng.exponential(size=n), rng.exponential(size=n) * math.exp(start * rng.normal())) for _ in range(count)]


def test_half_and_double_are_equally_far_from_one():
    assert percent(math.log(2)) == pytest.approx(100)
    assert percent(math.log(0.5)) == pytest.approx(-50)
    assert math.isfinite(percent(1e9))


def test_the_error_of_a_mean_of_independent_values_is_the_known_one():
    found = _estimate(_runs(1, n=2000), mean, is_paired=False)
    assert found.error == pytest.approx(math.sqrt(2 / 2000), rel=0.25)  # an exponential's deviation is its mean


def test_pairing_removes_what_both_runs_share():
    rng = np.random.default_rng(2)
    shared = rng.exponential(size=500) + 0.1
    a, b = shared * rng.uniform(0.98, 1.02, 500), 1.1 * shared * rng.uniform(0.98, 1.02, 500)
    paired, unpaired = (_estimate([(a, b)], is_paired=each) for each in (True, False))
    assert percent(paired.log_ratio) == pytest.approx(10, abs=4)
    assert paired.error < unpaired.error / 4
    told = [with_starts([each])[0] for each in (paired, unpaired)]
    assert told[0].interval.low > 0
    assert [each.method for each in told] == ["within the runs, paired", "within the runs"]


@pytest.mark.parametrize("more", [2, 3, 5])
def test_more_runs_together_say_more_than_one(more):
    runs = _runs(more)
    one, all_ = (_estimate(some, is_paired=False) for some in (runs[:1], runs))
    assert all_.error == pytest.approx(one.error / math.sqrt(more), rel=0.3)
    assert all_.degrees == pytest.approx(one.degrees, rel=0.3)  # of the error no more is known


def test_the_figure_of_several_runs_is_that_of_all_requests_together():
    (a, b), (c, d) = (np.array([1.0] * 60), np.array([2.0] * 60)), (np.array([3.0] * 61), np.array([9.0] * 61))
    found = _estimate([(a, b), (c, d)], is_paired=True)
    assert found.log_ratio == pytest.approx(math.log(9 / 3))  # not the mean of ln 2 and ln 3


def test_starts_that_differ_widen_the_interval_and_equal_ones_hardly():
    runs = [_runs(8, start=start, seed=6) for start in (1.0, 0.0)]
    unlike, alike = (with_starts([_estimate(each, is_paired=False)])[0] for each in runs)
    assert unlike.starts_error > 2 * unlike.error
    assert alike.starts_error < alike.error
    own = unlike.interval
    assert math.log1p(own.high / 100) - unlike.log_ratio > 2.3646 * unlike.starts_error  # t of seven degrees of freedom
    assert {unlike.method, alike.method} == {"seeds pooled"}


def test_two_seeds_do_not_tell_how_starts_differ():
    within = _estimate(_runs(2, start=0.5), is_paired=False)
    (found,) = with_starts([within])
    assert (within.excess, found.starts_error, found.method) == (None, 0.0, "within the runs")


def test_cells_lend_each_other_how_much_their_seeds_differ_and_equal_starts_are_the_rule():
    odd, even = (Difference(0.1, 0.01, 40.0, seeds=3, excess=excess) for excess in (7.0, 1.0))
    alone, together = with_starts([odd])[0], with_starts([odd, even, even])[0]
    assert alone.starts_error == pytest.approx(0.01 * math.sqrt((2 * 7 + 2 * 7 + 4) / 8 - 1))
    assert together.starts_error == pytest.approx(0.01 * math.sqrt((2 * 7 + 2 * 3 + 4) / 8 - 1))
    assert [each.starts_error for each in with_starts([even] * 3)] == [0.0] * 3


def test_an_interval_is_students_and_bonferronis():
    found = Difference(math.log(1.2), 0.05, 12)
    for cells, share in ((1, 0.975), (10, 0.9975)):
        half = stats.t.ppf(share, 12) * 0.05
        assert replace(found, cells=cells).interval.low == pytest.approx(100 * (1.2 * math.exp(-half) - 1))
        assert replace(found, cells=cells).interval.high == pytest.approx(100 * (1.2 * math.exp(half) - 1))


def test_what_starts_share_is_not_tried_anew_in_each_cell():
    found = Difference(0.0, 1e-9, 1e9, starts_error=0.05, seeds=3)
    assert found.interval.high == pytest.approx(100 * math.expm1(4.3027 * 0.05), rel=1e-4)  # t, 2 degrees
    assert replace(found, cells=20).interval.high == pytest.approx(found.interval.high)


def test_what_a_difference_might_have_been_spreads_as_its_errors_do():
    drawn = Difference(0.3, 0.1, 1e9, starts_error=0.2, seeds=1001).drawn(4000, np.random.default_rng(1))
    assert np.mean(drawn) == pytest.approx(0.3, abs=0.02)
    assert np.std(drawn) == pytest.approx(math.hypot(0.1, 0.2), rel=0.05)


def test_no_interval_is_narrower_than_one_step_of_the_figure():
    runs = [(np.full(100, 5.0), np.full(100, 5.0))] * 3
    (found,) = with_starts([_estimate(runs, mean, is_paired=True, resolution=0.01)])
    assert found.interval.low == pytest.approx(-0.995, abs=0.001)
    assert found.interval.high == pytest.approx(1.005, abs=0.001)


def test_short_runs_and_few_blocks_have_no_interval():
    rng = np.random.default_rng(4)
    assert estimate([(np.ones(39), np.ones(39))], mean, is_paired=True, rng=rng) is None
    walk = np.cumsum(rng.normal(size=60)) + 100
    assert estimate([(walk, walk)], mean, is_paired=True, rng=rng) is None


def test_a_figure_that_is_zero_or_not_there_has_no_ratio():
    assert _estimate([(np.zeros(100), np.ones(100))], mean, is_paired=True) is None
    some = np.where(np.arange(100) % 2 == 0, np.inf, 1.0)
    assert _estimate([(np.ones(100), some)], is_paired=True) is None
