import re
from dataclasses import replace
from typing import get_args

import pytest

from ragbench.results.records import Row
from ragbench.statistics import verdicts
from ragbench.statistics.columns import Columns, steady_window
from ragbench.statistics.verdicts import RULES, Evidence, Verdict, rules_table


def ok(number, due_s, latency_s, *, lag_s=0.0):
    return Row(number, "q", due_s, due_s + lag_s, due_s + latency_s, latency_s, lag_s, "ok", 200)


def lost(number, due_s, status, latency_s=0.01):
    return Row(number, "q", due_s, due_s, due_s + latency_s, latency_s, 0.0, status, error=f"{status}!")


def judge(rows, **known):
    columns = Columns(rows)
    length_s = rows[-1].due_s - rows[0].due_s if rows else 1.0
    return verdicts.judge(Evidence(columns, steady_window(columns.due_s, duration_s=length_s or 1.0), **known))


def steady(n=100, latency_s=0.01, **fields):
    return [ok(i, i / 10, latency_s, **fields) for i in range(n)]


def overloaded(n=200):
    return [ok(i, i / 50, 0.01 + i / 100) for i in range(n)]


def test_failed_when_the_server_died_or_nothing_was_ok():
    assert judge(steady(), failure="it died") == ("failed", "it died")
    told = judge([lost(0, 0.0, "rejected"), lost(1, 0.1, "timeout")])
    assert told == ("failed", "none of 2 requests got an ok answer; the first: rejected!")


def test_a_load_that_drew_no_request_is_valid_and_says_so():
    assert judge([]) == ("valid", "no request was drawn")


def share_of(status, share, n=1000):
    """Steady rows of n questions, evenly spread, of which a share ended in another way."""
    every = round(1 / share)
    return [
        replace(lost(i, i / 10, status), question=f"q{i}") if i % every == 0 else ok(i, i / 10, 0.01) for i in range(n)
    ]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, "failing") for status in ("http_error", "reset", "connection_error", "truncated", "bad_answer")),
        ("timeout", "saturated"),
        ("rejected", "shedding"),
    ],
)
@pytest.mark.parametrize("is_closed", [False, True])
def test_more_than_one_in_a_hundred_without_an_answer_is_never_valid(status, verdict, is_closed):
    assert judge(share_of(status, 0.02), is_closed=is_closed)[0] == verdict
    assert judge(share_of(status, 0.01), is_closed=is_closed)[0] == "valid"  # one in a hundred is not more than 1%


@pytest.mark.parametrize("share", [0.95, 0.99, 0.9])
@pytest.mark.parametrize("status", ["http_error", "reset", "connection_error"])
def test_a_service_that_mostly_fails_is_failing_however_fast_the_rest(status, share):
    rows = [lost(i, i / 10, status) if i % 1000 < share * 1000 else ok(i, i / 10, 0.01) for i in range(1000)]
    verdict, reason = judge(rows)
    assert verdict == "failing"
    assert reason == f"{share * 1000:.0f} of 1000 requests failed ({share * 1000:.0f} {status}); the first: {status}!"


def test_one_error_of_few_requests_is_an_accident_and_two_are_not():
    rows = steady(30)
    assert judge([lost(0, 0.0, "http_error"), *rows[1:]])[0] == "valid"
    assert judge([lost(0, 0.0, "http_error"), lost(1, 0.1, "reset"), *rows[2:]])[0] == "failing"
    assert judge([lost(0, 0.0, "rejected"), *rows[1:]])[0] == "valid"
    assert judge([lost(0, 0.0, "rejected"), lost(1, 0.1, "rejected"), *rows[2:]])[0] == "shedding"


def answered(texts):
    return [replace(ok(i, i / 10, 0.01), question=f"q{i}", result=text) for i, text in enumerate(texts)]


def test_one_text_for_most_of_many_questions_is_no_answer():
    texts = ["CUDA out of memory"] * 21 + [f"answer {i}" for i in range(19)]
    assert judge(answered(texts)) == (
        "failing",
        "21 of 40 different questions got one answer, 'CUDA out of memory' (meant so? same_answers = true)",
    )
    assert judge(answered(texts), same_answers=True)[0] == "valid"
    assert judge(answered(texts[1:]))[0] == "failing"  # 20 of 39
    assert judge(answered(texts[2:]))[0] == "valid"  # 19 of 38 is not more than half
    assert judge(answered(["CUDA out of memory"] * 19))[0] == "valid"  # too few questions to say
    again = [replace(row, question=f"q{i % 10}") for i, row in enumerate(answered(["yes"] * 100))]
    assert judge(again)[0] == "valid"  # ten questions


def test_errors_come_before_a_queue_and_a_queue_before_refusals():
    rows = overloaded()
    assert judge([*rows[:190], *(lost(i, i / 50, "rejected") for i in range(190, 200))])[0] == "saturated"
    assert judge([*rows[:190], *(lost(i, i / 50, "reset") for i in range(190, 200))])[0] == "failing"


@pytest.mark.parametrize(
    ("lag_s", "latency_s", "verdict"),
    [
        (0.0009, 0.01, "valid"),
        (0.0011, 0.01, "client_limited"),
        (0.0011, 0.2, "valid"),
        (0.019, 2.0, "valid"),
        (0.021, 2.0, "client_limited"),
    ],
)
def test_client_limited_when_sends_are_late_against_both_bounds(lag_s, latency_s, verdict):
    assert judge(steady(latency_s=latency_s, lag_s=lag_s))[0] == verdict


def test_the_reason_of_a_late_client_names_the_lag_and_the_limit():
    told = judge(steady(latency_s=2.0, lag_s=0.025))
    assert told[1] == "one in twenty requests left 25.0 ms late or more; 20.0 ms are allowed"


def test_a_few_late_sends_are_no_fault():
    assert judge([ok(i, i / 10, 0.01, lag_s=0.5 if i % 25 == 0 else 0.0) for i in range(100)])[0] == "valid"


def test_lateness_before_the_window_is_no_fault():
    assert judge([ok(i, i / 10, 0.01, lag_s=0.5 if i < 9 else 0.0) for i in range(100)])[0] == "valid"


def test_client_limited_when_requests_were_never_sent():
    assert judge([ok(0, 0, 0.1), Row(1, "q", 0.1)]) == ("client_limited", "1 of 2 requests were never sent")


@pytest.mark.parametrize(
    ("used", "cores", "verdict"),
    [
        (0.24, 2, "valid"),
        (0.26, 2, "contaminated"),
        (0.26, None, "contaminated"),
        (0.7, 8, "valid"),
        (0.9, 8, "contaminated"),
        (None, 2, "valid"),
    ],
)
def test_contaminated_when_others_used_a_quarter_core_and_a_tenth_of_all(used, cores, verdict):
    assert judge(steady(), other_cpu_cores=used, cores=cores)[0] == verdict


def test_another_program_does_not_hide_a_service_that_fails():
    rows = [*steady(50), *(lost(50 + i, 5 + i / 10, "http_error") for i in range(50))]
    verdict, reason = judge(rows, other_cpu_cores=1.0, cores=2)
    assert verdict == "contaminated"
    assert reason.endswith("; besides, 50 of 100 requests failed (50 http_error); the first: http_error!")


def test_saturated_when_the_queue_grows_to_the_end_or_requests_time_out():
    verdict, reason = judge(overloaded())
    assert verdict == "saturated"
    assert re.fullmatch(r"to the end, in-flight grew from \d+ to \d+ and latency p50 from [\d.]+ to [\d.]+ s", reason)
    rows = [lost(i, i / 10, "timeout", 1.0) if i % 20 == 0 else ok(i, i / 10, 0.01) for i in range(100)]
    assert judge(rows) == ("saturated", "5 of 100 requests timed out")
    assert judge(overloaded(), is_closed=True)[0] == "valid"
    assert judge(rows, is_closed=True)[0] == "saturated"


def test_saturated_when_far_fewer_end_than_are_due_though_too_few_to_see_latencies_rise():
    one_a_second = [ok(i, i / 30, 1.0 + i - i / 30) for i in range(600)]
    assert judge(one_a_second) == ("saturated", "of 540 requests due in the window, only 18 ended in it")
    assert judge(one_a_second, is_closed=True)[0] == "valid"


def test_what_explains_the_rest_comes_first():
    late = [Row(r.request, "q", r.due_s, r.due_s + 0.5, r.done_s, r.latency_s, 0.5, "ok", 200) for r in overloaded()]
    both = {"other_cpu_cores": 1.0, "cores": 2}
    assert judge(late, failure="it died", **both)[0] == "failed"
    assert judge(late, **both)[0] == "contaminated"
    assert judge(late)[0] == "client_limited"
    assert judge(overloaded())[0] == "saturated"


def test_a_valid_point_says_what_was_seen():
    assert judge(steady()) == ("valid", "sent on time; no growth to the end")
    assert judge(steady(20)) == ("valid", "sent on time; 20 requests: too few to judge growth")
    rows = [lost(0, 0.0, "rejected"), *steady(200)[1:]]
    assert judge(rows) == ("valid", "sent on time; no growth to the end; 1 of 200 requests without an answer")


def test_the_table_tells_every_verdict_once_in_the_order_of_trial():
    named = re.findall(r"^\| `(\w+)` \|", rules_table(), re.MULTILINE)
    assert named == ["failed", "contaminated", "client_limited", "failing", "saturated", "shedding", "valid"]
    assert set(named) == set(get_args(Verdict)) == {rule.verdict for rule in RULES}
    assert "exceeds both 1 ms and 1% of the median latency" in rules_table()
    assert "more than 0.25 of a core, and more than 10% of the cores" in rules_table()
