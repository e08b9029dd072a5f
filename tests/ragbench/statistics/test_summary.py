import time
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragbench.results.metrics import FIGURES, Summary
from ragbench.results.records import STATUSES, ReplicaCount, Row, Sample
from ragbench.results.slo import Slo
from ragbench.statistics.summary import summarise
from tests.ragbench.queues import random_queue, rows_of


def ok(number, due_s, latency_s, *, lag_s=0.0005, **fields):
    done_s = due_s + latency_s
    return Row(number, f"q{number}", due_s, due_s + lag_s, done_s, latency_s, lag_s, "ok", 200, **fields)


def lost(number, due_s, status, latency_s=0.01):
    return Row(number, "q", due_s, due_s, due_s + latency_s, latency_s, 0.0, status, error=f"{status}!")


FOUR = [
    ok(0, 0.0, 9.0, queue_s=9.0, batch_size=9, exact_match=1.0, f1=1.0, recall_at_k=0.5, lag_s=0.0),  # too early
    ok(1, 0.5, 0.2, queue_s=0.04, batch_size=2, exact_match=0.0, f1=0.5, recall_at_k=1.0),
    ok(2, 1.0, 0.3, queue_s=None, batch_size=3, exact_match=1.0, f1=1.0),
    ok(3, 1.5, 0.4, lag_s=0.001, generate_s=0.2, embed_s=0.1, queue_s=0.02, retrieve_s=0.01),
]


def test_figures_of_four_answers():
    summary = summarise(FOUR, offered_rps=2.0, duration_s=2.0)
    assert (summary.requests, summary.completed, summary.rejected, summary.failed, summary.unsent) == (4, 4, 0, 0, 0)
    assert (summary.duration_s, summary.window_start_s, summary.window_end_s) == (2.0, 0.2, 1.5)
    assert summary.sent_rps == pytest.approx(1.9986676)  # four sends, gaps over 1.501 s
    assert summary.due_rps == pytest.approx(2 / 1.3)  # 0.5 and 1.0; the one at 1.5 ends the window
    assert summary.throughput_rps == pytest.approx(2 / 1.3)  # ended at 0.7 and 1.3; 1.9 and 9 lie past the window
    assert summary.goodput_rps == summary.throughput_rps
    assert summary.attainment == 1.0
    assert summary.slo_met is None
    assert summary.latency_mean_s == pytest.approx(0.3)  # of those due at 0.5, 1.0 and 1.5
    assert summary.latency_p50_s == pytest.approx(0.3)
    assert summary.latency_p90_s == pytest.approx(0.38)
    assert summary.latency_p99_s == pytest.approx(0.398)
    assert summary.latency_max_s == pytest.approx(0.4)
    assert summary.latency_from_sent_mean_s == pytest.approx(0.3 - 0.002 / 3)
    assert summary.latency_from_sent_p99_s == pytest.approx(0.399 - 0.02 * (0.399 - 0.2995))
    assert summary.send_lag_p95_s == pytest.approx(0.00095)
    assert summary.send_lag_p99_s == pytest.approx(0.00099)
    # Under way from 0.2 to 1.5: the first throughout, the second 0.1995 s, the third 0.2995 s.
    assert summary.in_flight_mean == pytest.approx((1.3 + 0.1995 + 0.2995) / 1.3)
    assert summary.in_flight_max == 2
    assert summary.queue_s == pytest.approx(0.03)
    assert summary.generate_s == pytest.approx(0.2)
    assert summary.unaccounted_s == pytest.approx(((0.1995 - 0.04) + (0.399 - 0.33)) / 2)
    assert summary.batch_size == pytest.approx(2.5)
    assert summary.exact_match == pytest.approx(2 / 3)
    assert summary.f1 == pytest.approx(2.5 / 3)
    assert summary.recall_at_k == pytest.approx(0.75)
    assert summary.latency_mean_low_s is summary.latency_p95_high_s is summary.throughput_low_rps is None
    assert (summary.source, summary.replicas, summary.verdict) == ("measured", 1, "valid")


def test_what_was_due_is_what_was_drawn_not_the_rate():
    """At 100/s, evenly spaced, 100/s were due; of a schedule that drew three quarters of that, 75/s."""
    even = [ok(n, n / 100, 0.02) for n in range(300)]
    assert summarise(even, offered_rps=100.0, duration_s=3.0).due_rps == pytest.approx(100.0, rel=0.005)
    drawn = [row for row in even if row.request % 4]
    assert summarise(drawn, offered_rps=100.0, duration_s=3.0).due_rps == pytest.approx(75.0, rel=0.005)
    unanswered = [lost(row.request, row.due_s, "timeout") for row in drawn]
    assert summarise(unanswered, offered_rps=100.0, duration_s=3.0).due_rps == pytest.approx(75.0, rel=0.005)


def test_figures_do_not_depend_on_the_order_of_rows():
    assert summarise(FOUR[::-1], offered_rps=2.0, duration_s=2.0) == summarise(FOUR, offered_rps=2.0, duration_s=2.0)


def test_goodput_and_attainment_are_within_the_limit_and_count_what_was_lost():
    rows = [*FOUR, lost(4, 1.2, "rejected"), Row(5, "q", 1.3)]
    summary = summarise(rows, offered_rps=2.0, duration_s=2.0, slo=Slo({"latency_p95_s": 0.25}))
    assert summary.throughput_rps == pytest.approx(2 / 1.3)
    assert summary.goodput_rps == pytest.approx(1 / 1.3)  # 0.2 s; 0.3 s is too slow
    assert summary.attainment == pytest.approx(1 / 5)  # of five due in the window
    assert summary.slo_met is False
    assert summarise(FOUR, offered_rps=2.0, duration_s=2.0, slo=Slo({"latency_p95_s": 0.4})).slo_met is True


@given(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=60))
def test_every_request_is_counted_once_however_it_ended(statuses):
    rows = [lost(i, i / 10, status) if status != "unsent" else Row(i, "q", i / 10) for i, status in enumerate(statuses)]
    summary = summarise(rows, offered_rps=10.0)
    parts = [summary.completed, summary.rejected, summary.timed_out, summary.failed, summary.unsent]
    assert sum(parts) == summary.requests == len(statuses)
    assert summary.failed == sum(
        s in ("http_error", "connection_error", "reset", "truncated", "bad_answer") for s in statuses
    )


def test_a_backlog_worked_off_later_is_no_throughput():
    done = 0.02 * np.arange(1, 201)  # twice what it can serve
    summary = summarise(rows_of(np.arange(200) / 100, done), offered_rps=100.0, duration_s=2.0)
    assert summary.completed == 200
    assert summary.throughput_rps == pytest.approx(50, rel=0.02)
    assert summary.in_flight_max == 101  # at 1.99 s: 200 sent, 99 ended


def test_a_load_by_count_lasts_its_mean_gap_times_its_number():
    assert summarise([ok(i, i / 4, 0.01) for i in range(8)], offered_rps=4.0).duration_s == pytest.approx(2.0)
    one = summarise([ok(0, 0.3, 0.01)], offered_rps=4.0)
    assert one.duration_s == pytest.approx(0.25)
    assert (one.window_start_s, one.window_end_s) == pytest.approx((0.3, 0.55))
    assert one.latency_p50_s == pytest.approx(0.01)


def test_percentiles_have_intervals_only_where_fifty_independent_answers_lie_beyond():
    def known(n):
        latencies = np.random.default_rng(1).exponential(0.1, n)
        rows = [ok(i, i / 10, float(latency_s)) for i, latency_s in enumerate(latencies)]
        summary = summarise(rows, offered_rps=10.0)
        return [getattr(summary, f"latency_{name}_low_s") is not None for name in ("mean", "p50", "p95", "p99")]

    assert known(60) == [False] * 4
    assert known(200) == [True, True, False, False]
    assert known(2000) == [True, True, True, False]
    assert known(8000) == [True] * 4


def test_intervals_hold_their_figures_and_lie_within_what_was_seen():
    due, done = random_queue(0.3, 15_000, rng=np.random.default_rng(2))
    summary = summarise(rows_of(due, done), offered_rps=100.0)
    assert 5000 <= summary.independent_answers <= 9000
    for name in ("latency_mean", "latency_p50", "latency_p95", "latency_p99"):
        low, figure, high = (getattr(summary, f"{name}{end}_s") for end in ("_low", "", "_high"))
        assert low < figure < high <= summary.latency_max_s
    assert summary.throughput_low_rps < summary.throughput_rps < summary.throughput_high_rps
    assert summarise(rows_of(due, done), offered_rps=100.0) == summary


def test_the_interval_of_throughput_is_narrow_under_even_arrivals_and_wide_under_bursts():
    even = np.arange(1000) / 100
    bursts = np.floor(even / 2) * 2 + (even % 2) / 10  # 200 requests within 0.2 s, every 2 s
    one, other = (summarise(rows_of(due, due + 0.001), offered_rps=100.0) for due in (even, bursts))
    assert one.throughput_high_rps - one.throughput_low_rps < 5
    assert other.throughput_low_rps is None or other.throughput_high_rps - other.throughput_low_rps > 40


def test_replicas_is_the_highest_number_ready():
    counts = [ReplicaCount(0.0, 2, 1, 0), ReplicaCount(0.5, 3, 0, 0), ReplicaCount(1.0, 2, 0, 1)]
    assert summarise([ok(0, 0, 0.1)], offered_rps=1.0, replicas=counts).replicas == 3


def test_cpu_is_the_mean_over_time_from_the_windows_start():
    """The window begins at 0.2 s: of the three samples that reach into it, 0.3, 0.5 and 1.2 s do."""
    samples = [
        Sample(0.1, 9.0, other_cpu_cores=9.0),
        Sample(0.5, 1.0, other_cpu_cores=0.1),
        Sample(1.0, 0.2, other_cpu_cores=0.9),
        Sample(2.2, 0.4),
    ]
    summary = summarise(FOUR, offered_rps=2.0, duration_s=2.0, telemetry=samples)
    assert summary.client_cpu_cores == pytest.approx((0.3 + 0.1 + 0.48) / 2)
    assert summary.server_cpu_cores is None
    assert summary.other_cpu_cores == pytest.approx((0.03 + 0.45) / 0.8)
    early = summarise(FOUR, offered_rps=2.0, duration_s=2.0, telemetry=samples[:1], cores=2)
    assert early.client_cpu_cores == 9.0
    assert (early.verdict, early.verdict_reason) == ("contaminated", "other programs used 9.00 of 2 cores meanwhile")


def test_a_closed_loop_has_its_figures_and_is_never_saturated():
    due = np.arange(300) / 100
    rows = rows_of(due, due + 0.01 + due)  # ever slower
    assert summarise(rows, offered_rps=100.0, duration_s=3.0).verdict == "saturated"
    closed = summarise(rows, offered_rps=None, concurrency=4, duration_s=3.0)
    assert closed.verdict == "valid"
    assert closed.verdict_reason == "closed loop: each user waited for each answer"
    assert closed.latency_p50_s == pytest.approx(1.65, rel=0.05)


def test_a_point_without_an_answer_has_counts_and_no_figures():
    summary = summarise([lost(0, 0.0, "rejected"), lost(1, 0.5, "reset")], offered_rps=2.0, slo=Slo({"latency_s": 1.0}))
    assert (summary.verdict, summary.throughput_rps, summary.goodput_rps) == ("failed", 0.0, 0.0)
    assert summary.latency_mean_s is summary.latency_p95_s is summary.queue_s is None
    assert (summary.attainment, summary.slo_met) == (0.0, False)
    nothing = summarise([], offered_rps=1.0, duration_s=1.0)
    assert (nothing.verdict, nothing.verdict_reason) == ("valid", "no request was drawn")
    absent = (nothing.sent_rps, nothing.throughput_rps, nothing.goodput_rps, nothing.attainment, nothing.answered_share)
    assert absent == (None,) * 5
    assert nothing.latency_p50_s is nothing.latency_note is None


def late_and_lost(n, unanswered, status="http_error"):
    """n requests, of which the first `unanswered` by due time end without an answer, after the window's start."""
    latencies = np.random.default_rng(1).uniform(0.01, 0.02, n)
    rows = [ok(i, i / 100, float(latency_s)) for i, latency_s in enumerate(latencies)]
    first = n // 2
    return [lost(row.request, row.due_s, status) if first <= row.request < first + unanswered else row for row in rows]


def test_an_unanswered_request_is_later_than_every_answered_one():
    few = summarise(late_and_lost(1000, 5), offered_rps=100.0)
    without = summarise(late_and_lost(1000, 0), offered_rps=100.0)
    assert few.latency_p99_s > without.latency_p99_s
    assert few.latency_max_s is None
    assert few.latency_note is None  # every percentile is there
    assert few.answered_share == pytest.approx(0.995)
    some = summarise(late_and_lost(1000, 60), offered_rps=100.0)
    assert (some.latency_p95_s, some.latency_p99_s, some.latency_from_sent_p95_s) == (None, None, None)
    assert some.latency_p90_s is not None
    assert some.latency_note == "p95, p99 fall among the 60 of 900 requests that got no answer"


def test_the_worse_a_service_the_later_its_percentiles():
    tails = [summarise(late_and_lost(2000, n), offered_rps=100.0).latency_p50_s for n in (0, 100, 400, 800)]
    assert tails == sorted(tails)
    assert summarise(late_and_lost(2000, 950), offered_rps=100.0).latency_p50_s is None


def test_an_interval_whose_end_falls_among_the_unanswered_is_absent():
    summary = summarise(late_and_lost(2000, 85), offered_rps=100.0)
    assert summary.latency_p95_s is not None
    assert summary.latency_p95_high_s is None
    assert summary.latency_p50_high_s is not None


@pytest.mark.parametrize(("status", "verdict"), [("http_error", "failing"), ("rejected", "shedding")])
def test_means_of_a_service_that_gives_errors_are_absent(status, verdict):
    rows = [replace(row, queue_s=0.001, batch_size=2) for row in late_and_lost(1000, 60, status)]
    summary = summarise(rows, offered_rps=100.0)
    assert summary.verdict == verdict
    means = (summary.latency_mean_s, summary.latency_from_sent_mean_s, summary.queue_s, summary.batch_size)
    assert all(value is None for value in means) == (verdict == "failing")


def test_every_figure_of_the_table_is_computed_and_no_other():
    assert list(asdict(summarise(FOUR, offered_rps=2.0))) == list(FIGURES) == [item.name for item in fields(Summary)]


@pytest.mark.slow
def test_half_a_million_rows_take_seconds():
    due, done = random_queue(0.8, 500_000, rng=np.random.default_rng(1), rate_rps=5000.0)
    rows = rows_of(due, done, queue_s=0.1)
    began = time.process_time()
    summarise(rows, offered_rps=5000.0)
    assert time.process_time() - began < 20  # about 3 s on one core
