import re
from typing import get_args

import pytest

from ragbench import verdicts
from ragbench.columns import Columns, steady_window
from ragbench.records import Row
from ragbench.verdicts import RULES, Evidence, Verdict, rules_table


def ok(number, due_s, latency_s, *, lag_s=0.0):
    return Row(number, "q", due_s, due_s + lag_s, due_s + latency_s, latency_s, lag_s, "ok", 200)


def lost(number, due_s, status, latency_s=0.01):
    return Row(number, "q", due_s, due_s, due_s + latency_s, latency_s, 0.0, status, error=f"{status}!")


def judge(rows, **known):
    columns = Columns.of(rows)
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
    assert judge([]) == ("failed", "nothing was scheduled")


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


def test_saturated_when_the_queue_grows_to_the_end_or_requests_time_out():
    verdict, reason = judge(overloaded())
    assert verdict == "saturated"
    assert re.fullmatch(r"to the end, in-flight grew from \d+ to \d+ and latency from [\d.]+ to [\d.]+ s", reason)
    rows = [lost(i, i / 10, "timeout", 1.0) if i % 20 == 0 else ok(i, i / 10, 0.01) for i in range(100)]
    assert judge(rows) == ("saturated", "5 of 100 requests timed out")
    assert judge(overloaded(), is_closed=True)[0] == "valid"
    assert judge(rows, is_closed=True)[0] == "valid"


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
    rows = [lost(i, i / 10, "rejected") if i % 4 == 0 else ok(i, i / 10, 0.02) for i in range(100)]
    assert judge(rows) == ("valid", "sent on time; no growth to the end; 25% rejected")


def test_the_table_tells_every_verdict_once_in_the_order_of_trial():
    named = re.findall(r"^\| `(\w+)` \|", rules_table(), re.MULTILINE)
    assert named == ["failed", "contaminated", "client_limited", "saturated", "valid"]
    assert set(named) == set(get_args(Verdict)) == {rule.verdict for rule in RULES}
    assert "exceeds both 1 ms and 1% of the median latency" in rules_table()
    assert "more than 0.25 of a core, and more than 10% of the cores" in rules_table()
