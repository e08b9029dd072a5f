import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import theilslopes

from ragbench.records import SUMMARY_REST, ReplicaCount, Row
from ragbench.stats import _slope, growing, judge, summarise


def ok(number, due_s, latency_s, *, lag_s=0.001, **fields):
    done_s = due_s + latency_s
    return Row(number, f"q{number}", due_s, due_s + lag_s, done_s, latency_s, lag_s, "ok", 200, **fields)


def lost(number, due_s, status, latency_s=0.01):
    return Row(number, "q", due_s, due_s, due_s + latency_s, latency_s, 0.0, status, error=f"{status}!")


def single_server(rate_rps, service_s, n):
    """Waits of a first-come queue under even arrivals, by Lindley's recursion."""
    rows, free_s = [], 0.0
    for i in range(n):
        due_s = i / rate_rps
        free_s = max(free_s, due_s) + service_s
        rows.append(ok(i, due_s, free_s - due_s))
    return rows


def test_figures_of_four_answers():
    rows = [
        ok(0, 0.0, 0.1, queue_s=0.02, batch_size=1, exact_match=1.0, recall_at_k=0.5),
        ok(1, 0.5, 0.2, queue_s=0.04, batch_size=2, exact_match=0.0, recall_at_k=1.0),
        ok(2, 1.0, 0.3, queue_s=None, batch_size=3, exact_match=1.0),
        ok(3, 1.5, 0.4, lag_s=0.002, generate_s=0.2),
    ]
    summary = summarise(rows, offered_rps=2.0, duration_s=2.0)
    assert (summary.requests, summary.completed, summary.rejected, summary.failed, summary.unsent) == (4, 4, 0, 0, 0)
    assert summary.duration_s == 2.0
    assert summary.sent_rps == pytest.approx(1.9986676)  # four sends, gaps over 1.501 s
    assert summary.throughput_rps == pytest.approx(2.1052632)  # 4 in 1.9 s
    assert summary.goodput_rps == pytest.approx(2.0)
    assert summary.latency_mean_s == pytest.approx(0.25)
    assert summary.latency_p50_s == pytest.approx(0.25)
    assert summary.latency_p90_s == pytest.approx(0.37)
    assert summary.latency_p99_s == pytest.approx(0.397)
    assert summary.latency_max_s == pytest.approx(0.4)
    assert summary.send_lag_p99_s == pytest.approx(0.00197)
    assert summary.queue_s == pytest.approx(0.03)
    assert summary.embed_s is None
    assert summary.generate_s == pytest.approx(0.2)
    assert summary.batch_size == pytest.approx(2.0)
    assert summary.exact_match == pytest.approx(2 / 3)
    assert summary.recall_at_k == pytest.approx(0.75)
    assert summary.replicas == 1
    assert summary.verdict == "valid"


def test_lost_requests_stay_in_the_count_and_add_no_goodput():
    lost_ones = ["rejected", "timeout", "http_error", "connection_error", "bad_answer"]
    rows = [*(lost(i, i / 10, status) for i, status in enumerate(lost_ones)), Row(5, "q", 0.5), ok(6, 0.6, 0.1)]
    summary = summarise(rows, offered_rps=10.0, duration_s=0.7)
    assert summary.requests == 7
    assert (summary.completed, summary.rejected, summary.timed_out) == (1, 1, 1)
    assert (summary.failed, summary.unsent) == (3, 1)
    assert summary.goodput_rps == pytest.approx(1 / 0.7)
    assert summary.latency_max_s == pytest.approx(0.1)


def test_a_backlog_worked_off_later_is_no_goodput():
    rows = single_server(rate_rps=100, service_s=0.02, n=100)  # twice what it can serve
    summary = summarise(rows, offered_rps=100.0, duration_s=1.0)
    assert summary.completed == 100
    assert summary.throughput_rps == pytest.approx(50)
    assert summary.goodput_rps == pytest.approx(50)


def test_the_length_of_a_load_by_count_is_its_mean_gap_times_its_number():
    assert summarise([ok(i, i / 4, 0.01) for i in range(8)], offered_rps=4.0).duration_s == pytest.approx(2.0)
    assert summarise([ok(0, 0.3, 0.01)], offered_rps=4.0).duration_s == pytest.approx(0.25)


def test_replicas_is_the_highest_number_ready():
    counts = [ReplicaCount(0.0, 2, 1, 0), ReplicaCount(0.5, 3, 0, 0), ReplicaCount(1.0, 2, 0, 1)]
    assert summarise([ok(0, 0, 0.1)], offered_rps=1.0, replicas=counts).replicas == 3


def test_the_summary_has_the_columns_of_the_file():
    names = list(summarise([], offered_rps=1.0, duration_s=1.0).__slots__)
    assert names == list(SUMMARY_REST[3:-1])


def test_failed_when_the_server_died():
    assert judge([ok(0, 0, 0.1)], failure="it died") == ("failed", "it died")


def test_failed_when_nothing_was_ok():
    verdict, reason = judge([lost(0, 0.0, "rejected"), lost(1, 0.1, "timeout")])
    assert verdict == "failed"
    assert reason == "none of 2 requests got an ok answer; the first: rejected!"
    assert judge([]) == ("failed", "nothing was scheduled")


@pytest.mark.parametrize(
    ("lag_s", "latency_s", "verdict"),
    [(0.004, 0.01, "valid"), (0.006, 0.01, "client_limited"), (0.006, 2.0, "valid"), (0.03, 2.0, "client_limited")],
)
def test_client_limited_when_sends_are_late_against_both_bounds(lag_s, latency_s, verdict):
    assert judge([ok(i, i / 10, latency_s, lag_s=lag_s) for i in range(20)])[0] == verdict


def test_a_few_late_sends_are_no_fault():
    rows = [ok(i, i / 10, 0.01, lag_s=0.5 if i % 25 == 0 else 0.001) for i in range(100)]
    assert judge(rows)[0] == "valid"


def test_client_limited_when_requests_were_never_sent():
    assert judge([ok(0, 0, 0.1), Row(1, "q", 0.1)]) == ("client_limited", "1 of 2 requests were never sent")


def test_saturated_when_the_queue_grows_to_the_end():
    verdict, reason = judge(single_server(rate_rps=60, service_s=1 / 50, n=180))
    assert verdict == "saturated"
    assert reason.startswith("to the end, in-flight grew from ")


def test_valid_below_capacity():
    assert judge(single_server(rate_rps=45, service_s=1 / 50, n=180))[0] == "valid"


def test_valid_when_random_arrivals_keep_a_stable_queue_busy():
    verdicts = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        due, free_s, rows = np.cumsum(rng.exponential(1 / 35, 400)), 0.0, []
        for i, due_s in enumerate(due):
            free_s = max(free_s, due_s) + 1 / 50
            rows.append(ok(i, due_s, free_s - due_s))
        verdicts.append(judge(rows)[0])
    assert verdicts.count("valid") >= 39


def test_valid_when_a_queue_fills_and_levels_off():
    for level_s in (0.3, 0.6, 1.5):
        rows = [ok(i, i / 60, min(0.02 + i * 0.01, level_s)) for i in range(300)]
        assert judge(rows)[0] == "valid"


def test_valid_when_more_are_in_flight_only_because_more_arrive():
    rows = [ok(i, 5 * (i / 300) ** 0.5, 0.5) for i in range(300)]
    assert judge(rows)[0] == "valid"


def test_one_long_pause_is_not_growth():
    rows = [ok(i, i / 60, 1.0 - (i - 120) / 60 if 120 <= i < 180 else 0.02) for i in range(300)]
    assert judge(rows)[0] == "valid"


def test_saturated_when_requests_time_out():
    rows = [lost(i, i / 10, "timeout", 1.0) if i % 10 == 0 else ok(i, i / 10, 0.01) for i in range(100)]
    assert judge(rows) == ("saturated", "10 of 100 requests timed out")


def test_rejections_are_told_in_the_reason():
    rows = [lost(i, i / 10, "rejected") if i % 4 == 0 else ok(i, i / 10, 0.02) for i in range(100)]
    assert judge(rows) == ("valid", "sent on time; no growth to the end; 25% rejected")


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_the_slope_is_that_of_theil_and_sen(values):
    assert _slope(np.array(values)) == pytest.approx(theilslopes(values).slope, abs=1e-9)


@given(st.lists(st.floats(0, 100), min_size=10, max_size=10))
def test_a_series_that_does_not_rise_is_not_growing(values):
    falling = np.array(sorted(values, reverse=True))
    assert not growing(falling, by=0.0)


@given(st.floats(0.1, 100), st.integers(0, 9), st.floats(-1000, 1000))
def test_one_odd_block_does_not_change_a_steady_rise(step, odd, value):
    rising = step * np.arange(10)
    assert growing(rising, by=8 * step)
    rising[odd] = value
    assert growing(rising, by=5 * step)
