import numpy as np
import pytest

from ragbench.calibration.queueing import mean_sojourn_s, p95_sojourn_s, service_times, sojourns


def one_by_one(due, service):
    """The queue as a loop over events."""
    free, spent = 0.0, []
    for at, takes in zip(due, service, strict=True):
        free = max(free, at) + takes
        spent.append(free - at)
    return spent


def test_sojourns_are_those_of_the_queue_served_one_by_one():
    rng = np.random.default_rng(1)
    due, service = np.cumsum(rng.exponential(1.0, 500)), rng.exponential(0.9, 500)
    assert sojourns(due, service) == pytest.approx(one_by_one(due, service))


def test_sojourns_by_hand():
    assert sojourns(np.array([0.0, 1.0, 5.0]), np.array([2.0, 2.0, 1.0])).tolist() == [2.0, 3.0, 1.0]


@pytest.mark.parametrize(
    ("kind", "utilisation", "mean", "p95"),
    [
        # M/M/1: 1 / (1 - rho) and ln 20 / (1 - rho). M/D/1: 1 + rho / (2 (1 - rho)).
        ("exponential", 0.5, 2.0, 5.991),
        ("exponential", 0.8, 5.0, 14.979),
        ("deterministic", 0.5, 1.5, None),
        ("deterministic", 0.8, 3.0, None),
    ],
)
def test_theory_in_service_times(kind, utilisation, mean, p95):
    assert mean_sojourn_s(kind, 1.0, utilisation) == pytest.approx(mean)
    assert mean_sojourn_s(kind, 0.02, utilisation) == pytest.approx(0.02 * mean)
    if p95 is not None:
        assert p95_sojourn_s(kind, 1.0, utilisation) == pytest.approx(p95, rel=1e-3)


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("kind", ["deterministic", "exponential"])
def test_theory_is_what_a_million_requests_do(kind, utilisation):
    n = 1_000_000
    due = np.cumsum(np.random.default_rng(2).exponential(1 / utilisation, n))
    spent = sojourns(due, service_times(kind, 1.0, n=n, seed=3))
    assert np.mean(spent) == pytest.approx(mean_sojourn_s(kind, 1.0, utilisation), rel=0.02)
    assert np.percentile(spent, 95) == pytest.approx(p95_sojourn_s(kind, 1.0, utilisation), rel=0.02)


def test_service_times_are_seeded_and_of_the_mean_named():
    drawn = service_times("exponential", 0.02, n=100_000, seed=5)
    assert np.array_equal(drawn, service_times("exponential", 0.02, n=100_000, seed=5))
    assert not np.array_equal(drawn, service_times("exponential", 0.02, n=100_000, seed=6))
    assert np.mean(drawn) == pytest.approx(0.02, rel=0.02)
    assert np.std(drawn) == pytest.approx(0.02, rel=0.02)
    assert set(service_times("deterministic", 0.02, n=3, seed=5)) == {0.02}
