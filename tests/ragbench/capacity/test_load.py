import numpy as np
import pytest

from ragbench.capacity.load import burn_rate, falling_behind, load_length_s, loaded, start_bias
from ragbench.results.slo import Slo
from ragbench.statistics.columns import Window

P95 = Slo({"latency_p95_s": 1.0})
HUNDRED = np.array([0.5] * 92 + [2.0] * 6 + [np.inf] * 2)  # 8 of 100 late, two of them for ever


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"latency_p95_s": 1.0}, 1.6),
        ({"latency_p50_s": 1.0}, 0.16),
        ({"latency_p99_s": 3.0}, 2.0),
        ({"latency_p95_s": 1.0, "latency_p99_s": 3.0}, 2.0),
        ({"latency_s": 1.0, "attainment": 0.9}, 0.8),
        ({"latency_s": 3.0, "attainment": 1.0}, 4.0),  # half a request of 100 may be late: 2 are
        ({"latency_mean_s": 1.0}, 20.0),
    ],
)
def test_what_was_used_of_a_limit(limits, expected):
    assert burn_rate(HUNDRED, Slo.of(limits)) == pytest.approx(expected)


def test_a_mean_within_its_limit():
    assert burn_rate(np.array([0.2, 0.4]), Slo({"latency_mean_s": 0.5})) == pytest.approx(0.6)
    assert burn_rate(np.array([]), P95) == 0.0


def served(rate, *, serves, length_s=5.0):
    """Evenly spaced requests on a server that takes them in turn. -> starts, ends"""
    due = np.arange(round(rate * length_s)) / rate
    worked = (np.arange(len(due)) + 1) / serves
    return due, worked + np.maximum.accumulate(due - worked + 1 / serves)


def at(rate, **options):
    starts, ends = served(rate, serves=100)
    window = Window(0.5, 5.0)
    latencies = (ends - starts)[window.holds(starts)]
    return loaded(rate, latencies, starts_s=starts, ends_s=ends, window=window, slo=P95, **options)


def test_a_queue_that_grows_slowly_is_seen_before_its_latencies_are():
    assert at(101, tolerance=0.1).kept
    failed = at(105, tolerance=0.1)
    assert not failed.kept
    assert failed.reason.startswith("answers fell behind by 4.")
    assert at(105, tolerance=0.3).kept


def test_chance_is_not_falling_behind():
    rng = np.random.default_rng(4)
    starts = np.sort(rng.uniform(0, 100, 5000))
    assert falling_behind(starts, starts + rng.exponential(0.5, 5000), Window(10.0, 100.0)) == 0.0


def test_the_length_of_a_load_follows_from_the_slo():
    assert load_length_s(Slo({"latency_p95_s": 0.05})) == 15
    assert load_length_s(Slo({"latency_p95_s": 0.5})) == pytest.approx(30)
    assert load_length_s(Slo({"latency_p99_s": 0.5})) == pytest.approx(19.5, rel=0.01)
    assert load_length_s(Slo({"latency_mean_s": 0.5})) == pytest.approx(89.9, rel=0.01)
    assert load_length_s(Slo({"latency_p95_s": 10.0})) == 120
    assert start_bias(P95, 60.0) == pytest.approx(0.01)
    assert start_bias(P95, 5.0) == pytest.approx(0.12)
    assert start_bias(Slo({"latency_p50_s": 10.0}), 5.0) == 0.5
