import numpy as np
import pytest

from ragbench.plots.ratios import Estimate, ratio


def test_a_ratio_of_two_runs_has_the_root_of_the_sum_of_squares():
    found = ratio([Estimate(1.0, np.exp(-0.3), np.exp(0.3))], [Estimate(2.0, 2 * np.exp(-0.4), 2 * np.exp(0.4))])
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2 * np.exp(-0.5), 2 * np.exp(0.5)))


def test_an_interval_that_is_lopsided_stays_so():
    """Above: the second's upper and the first's lower end; below: the other two."""
    found = ratio([Estimate(1.0, np.exp(-0.3), np.exp(0.8))], [Estimate(1.0, np.exp(-0.6), np.exp(0.4))])
    assert (found.low, found.high) == pytest.approx((np.exp(-1.0), np.exp(0.5)))


def test_more_pairs_make_it_narrower():
    pair = Estimate(1.0, 0.5, 2.0)
    wide, narrow = (ratio([pair] * n, [pair] * n) for n in (1, 4))
    assert np.log(wide.high) == pytest.approx(2 * np.log(narrow.high))


@pytest.mark.parametrize("ends", [(0.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_an_estimate_without_an_interval_above_zero_is_refused(ends):
    with pytest.raises(ValueError, match="low <= high"):
        Estimate(1.0, *ends)


def test_a_ratio_holds_its_truth_as_often_as_its_parts_do():
    """p50 of exponentials, 400 each: bootstrap intervals of both, the ratio's truth is 2."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        one, other = (_median(rng.exponential(scale, 400), rng) for scale in (1.0, 2.0))
        found = ratio([one], [other])
        held += found.low <= 2 <= found.high
    assert held >= 180


def _median(values, rng):
    drawn = np.median(rng.choice(values, (200, len(values))), axis=1)
    return Estimate(float(np.median(values)), *np.quantile(drawn, (0.025, 0.975)).tolist())
