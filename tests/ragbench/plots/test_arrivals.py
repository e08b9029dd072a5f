import numpy as np
import pytest

from ragbench.plots.arrivals import ratio


def _runs(*runs):
    return np.array(runs, dtype=float)


def test_a_ratio_of_two_runs_has_the_root_of_the_sum_of_squares():
    found = ratio(_runs([np.exp(-0.3), 1.0, np.exp(0.3)]), _runs([2 * np.exp(-0.4), 2.0, 2 * np.exp(0.4)]))
    assert found == pytest.approx((2 * np.exp(-0.5), 2.0, 2 * np.exp(0.5)))


def test_an_interval_that_is_lopsided_stays_so():
    """Above: the second's upper and the first's lower end; below: the other two."""
    low, _, high = ratio(_runs([np.exp(-0.3), 1.0, np.exp(0.8)]), _runs([np.exp(-0.6), 1.0, np.exp(0.4)]))
    assert (low, high) == pytest.approx((np.exp(-1.0), np.exp(0.5)))


def test_more_pairs_make_it_narrower():
    wide, narrow = (ratio(runs, runs) for runs in (_runs([0.5, 1.0, 2.0]), _runs(*[[0.5, 1.0, 2.0]] * 4)))
    assert np.log(wide[2]) == pytest.approx(2 * np.log(narrow[2]))


def test_a_value_outside_its_own_interval_makes_it_no_wider():
    """An interval of order statistics may miss an interpolated percentile by a little."""
    one = _runs([1.0, 1.0, 1.0])
    assert ratio(one, _runs([1.1, 1.0, 1.2])) == pytest.approx((1.0, 1.0, 1.2))


def test_a_ratio_holds_its_truth_as_often_as_its_parts_do():
    """p50 of exponentials, 400 each: bootstrap intervals of both, the ratio's truth is 2."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        low, _, high = ratio(*(_median(rng.exponential(scale, 400), rng) for scale in (1.0, 2.0)))
        held += low <= 2 <= high
    assert held >= 180


def _median(values, rng):
    drawn = np.median(rng.choice(values, (200, len(values))), axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return _runs([low, np.median(values), high])
