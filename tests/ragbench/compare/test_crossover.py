import math
from pathlib import Path

import numpy as np
import pytest

from ragbench.compare.cells import Cell, Comparison
from ragbench.compare.crossover import crossing_rates, crossovers
from ragbench.compare.differences import Difference
from ragbench.compare.pairs import Pair
from ragbench.compare.sides import Level, Run
from ragbench.results.paths import PointPaths
from ragbench.statistics.columns import Window

RATES = np.array([10.0, 20.0, 40.0, 80.0])


def cells(log_ratios, *, error, metric="latency_p95_s"):
    found = []
    for rate, ratio in zip(RATES, log_ratios, strict=False):
        level = Level(offered_rps=rate)
        run = Run("d", "poisson", level, 1, "valid", "measured", "m", Window(0, 1), "s", None, PointPaths(Path()))
        pair = Pair("one", "two", "poisson", level, ((run, run),))
        found.append(Cell(pair, metric, 1.0, 1.0, Difference(ratio, error, 1e6)))
    return Comparison(tuple(found))


def test_the_sign_changes_where_the_straight_line_does():
    rows = np.array([[1.0, 0.5, -0.5, -1.0], [1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, 1.0], [3.0, 1.0, -2.0, -2.0]])
    found = crossing_rates(RATES, rows)
    assert found[0] == pytest.approx(math.sqrt(20 * 40))
    assert np.isnan(found[1:3]).all()
    assert found[3] == pytest.approx(20 * 2 ** (1 / 3))


def test_a_sure_crossover_has_an_interval_of_the_errors():
    (found,) = crossovers(cells([0.6, 0.2, -0.2, -0.6], error=0.02))
    assert found.rate_rps == pytest.approx(math.sqrt(800))
    assert found.between_rps == (20, 40)
    # By hand: the zero of a line over log2(rate) with slope -0.4; its error is that of the mean of two ends, / 0.4.
    half = 1.96 * (0.02 / math.sqrt(2)) / 0.4 * math.log(2)
    assert found.interval.low == pytest.approx(math.sqrt(800) * math.exp(-half), rel=0.02)
    assert found.interval.high == pytest.approx(math.sqrt(800) * math.exp(half), rel=0.02)
    assert str(found).startswith("two overtakes one near 28.3/s (between the measured 20 and 40/s, 95%: ")


def test_a_crossover_within_the_noise_is_not_shown():
    (found,) = crossovers(cells([0.1, 0.05, -0.05, -0.1], error=0.2))
    assert found.interval is None
    assert found.share < 0.95
    assert str(found).startswith("crossover not shown: two may overtake one")


def test_the_other_way_round_it_is_the_first_side_that_overtakes():
    (found,) = crossovers(cells([-0.6, -0.2, 0.2, 0.6], error=0.01))
    assert str(found).startswith("one overtakes two near 28.3/s")


def test_rates_which_are_equal_until_one_server_saturates_have_no_crossover():
    assert crossovers(cells([-0.001, 0.0, 0.001, 0.6], error=0.0001, metric="throughput_rps")) == []


def test_no_change_of_sign_and_one_rate_have_none():
    assert crossovers(cells([0.6, 0.5, 0.2, 0.1], error=0.01)) == []
    assert crossovers(cells([0.6], error=0.01)) == []
