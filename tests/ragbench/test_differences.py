import math

import numpy as np
import pytest
from scipy import stats

from ragbench.differences import Difference, over_seeds, percent, quantiles, totals, within_runs

A = [0.10, 0.12, 0.09, 0.11]
B = [0.13, 0.15, 0.13, 0.14]


def test_half_and_double_are_equally_far_from_one():
    assert percent(math.log(2)) == pytest.approx(100)
    assert percent(math.log(0.5)) == pytest.approx(-50)
    assert math.isfinite(percent(1e9))


def test_paired_seeds_give_scipys_paired_interval_of_the_logarithms():
    found = over_seeds(A, B, is_paired=True).interval(0.99)
    expected = stats.ttest_rel(np.log(B), np.log(A)).confidence_interval(0.99)
    assert found.low == pytest.approx(100 * (math.exp(expected.low) - 1))
    assert found.high == pytest.approx(100 * (math.exp(expected.high) - 1))


def test_unpaired_seeds_give_scipys_welch_interval():
    found = over_seeds(A, [*B, 0.2], is_paired=False).interval()
    expected = stats.ttest_ind(np.log([*B, 0.2]), np.log(A), equal_var=False).confidence_interval(0.95)
    assert found.low == pytest.approx(100 * (math.exp(expected.low) - 1))
    assert found.high == pytest.approx(100 * (math.exp(expected.high) - 1))


@pytest.mark.parametrize(("a", "b"), [(A[:2], B[:2]), ([0.0, *A], [0.1, *B]), ([math.nan, *A], [0.1, *B])])
def test_too_few_seeds_or_no_figure_have_no_difference(a, b):
    assert over_seeds(a, b, is_paired=True) is None


def test_no_interval_is_narrower_than_one_step_of_the_figure():
    same = over_seeds([50.0] * 3, [50.0] * 3, is_paired=True, resolution=0.01).interval()
    assert (same.low, same.high) == (pytest.approx(-0.995, abs=0.001), pytest.approx(1.005, abs=0.001))


def test_quantiles_leave_absent_values_out_and_are_numpys():
    rng = np.random.default_rng(1)
    values = rng.exponential(size=(3, 50))
    values[0, :20] = np.nan
    found = quantiles(values, [0.5, 0.95])
    assert found == pytest.approx(np.nanpercentile(values, [50, 95], axis=1).T)
    assert np.isnan(quantiles(np.full((1, 4), np.nan), [0.5])).all()
    assert totals(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist() == [[3.0], [7.0]]


def _medians(values):
    return quantiles(values, [0.5])


def test_pairing_removes_what_both_runs_share():
    rng = np.random.default_rng(2)
    shared = rng.exponential(size=500) + 0.1
    a, b = shared * rng.uniform(0.98, 1.02, 500), 1.1 * shared * rng.uniform(0.98, 1.02, 500)
    paired, unpaired = (within_runs([(a, b)], _medians, is_paired=each, rng=rng)[0] for each in (True, False))
    assert paired.percent == pytest.approx(10, abs=4)
    assert paired.interval().low > 0
    assert paired.error < unpaired.error / 4
    assert (paired.method, unpaired.method) == ("within the runs, paired", "within the runs")


def test_two_runs_together_say_more_than_one():
    rng = np.random.default_rng(3)
    runs = [(rng.exponential(size=400), rng.exponential(size=400)) for _ in range(2)]
    one = within_runs(runs[:1], _medians, is_paired=False, rng=np.random.default_rng(0))[0]
    two = within_runs(runs, _medians, is_paired=False, rng=np.random.default_rng(0))[0]
    assert two.error == pytest.approx(one.error / math.sqrt(2), rel=0.25)
    assert two.degrees > 1.5 * one.degrees


def test_short_runs_and_one_block_have_no_interval():
    rng = np.random.default_rng(4)
    assert within_runs([(np.ones(39), np.ones(39))], totals, is_paired=True, rng=rng) is None
    walk = np.cumsum(rng.normal(size=60)) + 100
    assert within_runs([(walk, walk)], totals, is_paired=True, rng=rng) is None


def test_a_figure_that_is_zero_has_no_ratio():
    assert within_runs([(np.zeros(100), np.ones(100))], totals, is_paired=True, rng=np.random.default_rng(5)) is None


def test_a_difference_is_symmetric_about_its_ratio():
    found = Difference(math.log(1.2), 0.05, 1e9, "seeds").interval()
    assert found.low == pytest.approx(100 * (1.2 * math.exp(-1.959964 * 0.05) - 1), abs=1e-3)
    assert found.high == pytest.approx(100 * (1.2 * math.exp(1.959964 * 0.05) - 1), abs=1e-3)
