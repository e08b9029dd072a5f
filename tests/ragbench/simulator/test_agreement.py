"""What is said of a simulated load beside the measured one."""

from dataclasses import replace

import numpy as np
import pytest

from ragbench.results.records import Row
from ragbench.simulator.agreement import AGREEMENT, Pair, agree, latencies, summary_line
from ragbench.statistics.columns import Window


def pair(measured, simulated, verdict="valid", speed=1.0, in_sample=None):
    arrays = [
        None if one is None else np.array(one, dtype=float)
        for one in (measured, simulated, measured if in_sample is None else in_sample)
    ]
    return Pair(verdict, *arrays, speed)


def agreement(*pairs, rate=50.0, most_rps=100.0):
    return agree("batched", "poisson", rate, pairs, most_rps=most_rps)


def test_seeds_are_pooled_and_percentiles_never_averaged():
    # p50 of each seed alone: 1 and 10, mean 5.5. Of all: 2.
    one = agreement(pair([1, 1, 2], [1, 1, 2]), pair([10, 10], [10, 10]), pair([1, 1], [1, 2]))
    assert (one.latency_p50_s, one.simulated_p50_s, one.seeds) == (1.0, 2.0, 3)
    assert one.p50_off == pytest.approx(1.0)


def test_off_is_relative_and_agrees_is_both_within_fifteen_per_cent():
    within = agreement(pair([1.0] * 20, [1.14] * 20))
    assert within.p50_off == pytest.approx(0.14)
    assert within.agrees
    assert not agreement(pair([1.0] * 20, [1.16] * 20)).agrees
    assert not agreement(pair([1.0] * 20, [1.0] * 15 + [1.3] * 5)).agrees
    assert not agreement(pair([1.0] * 20, [0.8] * 20)).agrees


def test_what_the_fit_had_seen_does_not_count_as_agreement():
    one = agreement(pair([1.0] * 20, [1.3] * 20, in_sample=[1.0] * 20))
    assert (one.agrees, one.agrees_in_sample) == (False, True)
    assert (one.p50_off, one.in_sample_p50_off) == (pytest.approx(0.3), 0.0)


def test_only_valid_predicted_loads_below_capacity_are_judged():
    fine = agreement(pair([1], [1]))
    worse = agreement(pair([1], [1]), pair([1], [1], verdict="contaminated"))
    near = agreement(pair([1], [5]), rate=80.0)
    unpredicted = agreement(pair([1], None))
    found = [one.is_judged for one in (fine, worse, near, unpredicted)]
    assert found == [True, False, False, False]
    assert (worse.verdict, unpredicted.simulated_p50_s, unpredicted.p50_off) == ("contaminated", None, None)
    assert summary_line([fine, worse, near, replace(fine, p95_off=0.5)]) == (
        "out of sample (the load's rate left out of the fit), p50 and p95 within 15% of measured at 1 of 2 valid loads "
        "below 80% of the most that the design answered; in sample at 2 (of 4 loads)"
    )


def test_an_unanswered_request_is_infinitely_late_on_either_side():
    inf = float("inf")
    one = agreement(pair([1.0] * 90 + [inf] * 10, [1.0] * 40 + [inf] * 60))
    assert (one.latency_p50_s, one.latency_p95_s, one.simulated_p50_s, one.p50_off) == (1.0, None, None, None)
    assert not one.agrees
    # One of a hundred never came: the 95th percentile of all lies among the answers.
    values = [*range(99), inf]
    assert agreement(pair(values, values)).latency_p95_s == pytest.approx(np.percentile(range(100), 95))


def test_a_load_without_measured_answers_is_no_agreement():
    assert agreement(pair([], [1])) is None
    assert agreement(pair([float("inf")], [1])) is None


def test_the_table_is_csv():
    lines = AGREEMENT.text([agreement(pair([1, 2], [1, 3], speed=1.25)), agreement(pair([1, 2], None))]).splitlines()
    assert lines[0] == ",".join(AGREEMENT.columns)
    assert lines[1].startswith("batched,poisson,50,1,0.5,valid,1.25,true,1.5,2,0.333333,1.5,0,")
    assert lines[2].startswith("batched,poisson,50,1,0.5,valid,1,false,1.5,,,1.5,0,")


def test_latencies_are_of_what_was_due_in_the_window():
    rows = [Row(n, "q", float(n), float(n), n + 0.5, 0.5 + n / 10, 0.0, "ok", 200) for n in range(5)]
    rows[2] = replace(rows[2], status="timeout")
    assert latencies(rows, Window(1.0, 3.0)).tolist() == [0.6, float("inf"), 0.8]
