import numpy as np
import pytest

from ragbench.capacity.fit import fit


def loads(seed, *, n=20, clump=20, edge=88.0):
    """Of M/M/1 at 100/s with p95 <= 0.25 s: late requests, 5% at 88/s and exponential in the rate, in clumps."""
    rng = np.random.default_rng(seed)
    rates = edge * np.linspace(0.93, 1.07, n)
    late = 0.05 * np.exp((rates - edge) * 0.25)
    requests = np.round(rates * 13.5)
    burns = clump * rng.poisson(late * requests / clump) / requests / 0.05
    return rates, burns, requests


def test_the_interval_holds_the_edge_as_often_as_it_says():
    found = [fit(*loads(seed)) for seed in range(200)]
    assert sum(edge.low_rps <= 88 <= edge.high_rps for edge in found) >= 190
    assert np.mean([edge.rate_rps for edge in found]) == pytest.approx(88, rel=0.01)


def test_larger_clumps_make_a_wider_interval():
    widths = [
        np.mean([fit(*loads(s, clump=c)).high_rps - fit(*loads(s, clump=c)).low_rps for s in range(20)])
        for c in (2, 40)
    ]
    assert widths[1] > 2.5 * widths[0]


def test_a_step_is_found_between_its_sides():
    rates = np.array([90.0, 95, 98, 102, 105, 110])
    edge = fit(rates, np.where(rates < 100, 0.0, 20.0), np.full(6, 1000.0))
    assert 98 <= edge.rate_rps <= 102


def test_equal_rates_and_empty_loads_are_no_error():
    same = fit(np.full(4, 50.0), np.array([0.5, 1.5, 1.0, 0.8]), np.full(4, 100.0))
    assert same.rate_rps == pytest.approx(50, rel=0.12)
    none = fit(np.array([40.0, 45.0, 50.0]), np.zeros(3), np.full(3, 100.0))
    assert none.rate_rps > 50
