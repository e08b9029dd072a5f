import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from ragbench.statistics.intervals import Interval
from ragbench.statistics.latency_intervals import (
    correlation_time,
    independent_answers,
    latency_intervals,
    left_empty,
    needed,
    too_short,
)
from tests.ragbench.queues import steady_latencies


def shown(latencies_s):
    return [figure for figure, interval in latency_intervals(latencies_s).items() if interval is not None]


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.9])
def test_the_correlation_time_of_an_autoregression_is_known(coefficient):
    rng = np.random.default_rng(1)
    values = lfilter([1.0], [1.0, -coefficient], rng.normal(size=20_500))[500:]
    assert correlation_time(values) == pytest.approx((1 + coefficient) / (1 - coefficient), rel=0.2)


def test_an_interval_needs_fifty_independent_answers_beyond_its_quantile():
    assert [needed(figure) for figure in ("mean", "p50", "p95", "p99")] == pytest.approx([100, 100, 1000, 5000])
    latencies = np.random.default_rng(1).exponential(0.1, 8000)
    assert shown(latencies[:60]) == []
    assert shown(latencies[:300]) == ["mean", "p50"]
    assert shown(latencies[:2000]) == ["mean", "p50", "p95"]
    assert shown(latencies) == ["mean", "p50", "p95", "p99"]


def test_a_busy_queue_needs_far_more_answers_than_an_idle_one():
    """At b269b21 all of these had an interval, and the p99 of the busy one held the truth in 7 to 35% of runs."""
    rng = np.random.default_rng(2)
    assert shown(steady_latencies(0.3, 3000, rng=rng)) == ["mean", "p50", "p95"]
    assert shown(steady_latencies(0.9, 3000, rng=rng)) == []


@pytest.mark.parametrize(("rho", "n"), [(0.3, 3000), (0.6, 1000)])
def test_what_is_shown_holds_the_long_run_truth(rho, n):
    mean = rho / (1 - rho)
    truth = {"mean": mean, "p50": np.log(2) * mean, "p95": np.log(20) * mean}
    held = []
    for seed in range(60):
        intervals = latency_intervals(steady_latencies(rho, n, rng=np.random.default_rng([seed, n])))
        held += [one.low <= truth[figure] <= one.high for figure, one in intervals.items() if one is not None]
    assert len(held) >= 100
    assert np.mean(held) >= 0.93


def test_the_unanswered_are_infinitely_late():
    latencies = np.random.default_rng(3).exponential(0.1, 3000)
    some = np.where(np.arange(3000) % 200 == 0, np.inf, latencies)
    assert shown(some) == ["mean", "p50", "p95"]
    assert latency_intervals(some)["p95"].high < np.inf
    assert shown(np.where(np.arange(3000) % 20 == 0, np.inf, latencies)) == ["mean", "p50"]  # 5%: p95 falls among them
    assert shown(np.full(3000, np.inf)) == []
    assert shown(np.where(np.arange(900) % 10 == 0, latencies[:900], np.inf)) == []  # a mean of 90 answers


def test_latencies_that_do_not_vary_have_no_width():
    assert latency_intervals(np.full(1000, 0.02))["p50"] == Interval(0.02, 0.02)
    assert latency_intervals(np.full(1000, 0.02))["mean"] == Interval(pytest.approx(0.02), pytest.approx(0.02))


def test_few_distinct_latencies_that_come_in_stretches_are_not_independent():
    stretches = np.repeat([0.1, 0.2, 0.1, 0.2], 100)
    assert independent_answers(stretches) < 20
    assert shown(stretches) == []


def test_none_due_has_none():
    assert independent_answers(np.array([])) == 0
    assert shown(np.array([])) == []


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 5.0, np.inf]), max_size=300))
def test_an_end_lies_within_what_was_seen(latencies):
    latencies_s = np.array(latencies, dtype=np.float64)
    for interval in latency_intervals(latencies_s).values():
        if interval is not None:
            assert latencies_s.min() <= interval.low <= interval.high <= latencies_s[np.isfinite(latencies_s)].max()


def row(worth, *, verdict="valid", lows=(None, None, None, None)):
    ends = {f"latency_{figure}_low_s": low for figure, low in zip(("mean", "p50", "p95", "p99"), lows, strict=True)}
    return {"verdict": verdict, "independent_answers": worth, **ends}


def test_before_measuring_the_number_of_requests_says_what_stays_empty():
    assert too_short([300, 300, 2000]) == [
        "latency p95: no interval in 2 of 3 points; it needs at least 1,000 requests after the first tenth, more where "
        "a queue is busy",
        "latency p99: no interval in 3 of 3 points; it needs at least 5,000 requests after the first tenth, more where "
        "a queue is busy",
    ]
    assert too_short([100_000]) == []


def test_after_measuring_each_figure_says_by_what_factor_its_points_are_short():
    rows = [row(500.0, lows=(0.1, 0.1, None, None)), row(250.0, lows=(0.1, 0.1, None, None))]
    assert left_empty(rows) == [
        "latency p95: no interval in 2 of 2 valid points; they would have to be 2 to 4 times as long",
        "latency p99: no interval in 2 of 2 valid points; they would have to be 10 to 20 times as long",
    ]


def test_large_factors_can_be_read():
    assert left_empty([row(1.0), row(20.0)])[-1].endswith("they would have to be 250 to 5,000 times as long")


def test_points_that_are_not_valid_or_older_or_long_enough_are_not_told():
    assert left_empty([row(10.0, verdict="saturated"), row(None), {"verdict": "valid"}]) == []
    assert left_empty([row(9000.0, lows=(0.1, 0.1, 0.1, None))]) == []  # its p99 falls among the unanswered
