"""The simulated baseline is the queue of the textbooks."""

import numpy as np
import pytest

from ragbench.calibration.queueing import mean_sojourn_s, p95_sojourn_s, sojourns
from ragbench.simulator.run import run
from tests.ragbench.simulator.known import Exponential, line, requests


def poisson(rate, n, seed=1):
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, n))


def simulated(due_s, times):
    rows, _ = run(requests(due_s), design="baseline", settings={}, times=times, timeout_s=1e9, seed=1)
    return np.array([row.latency_s for row in rows])


def test_known_service_is_lindleys_recursion():
    due_s = poisson(80, 2000)
    assert simulated(due_s, line(0.0, 0.01)) == pytest.approx(sojourns(due_s, np.full(2000, 0.01)), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("kind", ["deterministic", "exponential"])
def test_mean_and_tail_are_those_of_theory(kind, utilisation):
    times = Exponential(0.01) if kind == "exponential" else line(0.0, 0.01)
    latency_s = simulated(poisson(100 * utilisation, 60_000), times)[5000:]
    assert np.mean(latency_s) == pytest.approx(mean_sojourn_s(kind, 0.01, utilisation), rel=0.05)
    assert np.percentile(latency_s, 95) == pytest.approx(p95_sojourn_s(kind, 0.01, utilisation), rel=0.05)
