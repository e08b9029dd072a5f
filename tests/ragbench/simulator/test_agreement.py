"""What is said of a simulated load beside the measured one."""

from dataclasses import replace

import numpy as np
import pytest

from ragbench.simulator.agreement import AGREEMENT, Agreement, quantiles, summary_line


def agreement(measured_s, simulated_s, *, verdict="valid", load=0.5, speed=1.0):
    arrays = [None if values is None else np.array(values, dtype=float) for values in (measured_s, simulated_s)]
    is_predicted = simulated_s is not None
    return Agreement(
        "batched", "poisson", 50.0, 1, load, verdict, speed, is_predicted=is_predicted, **quantiles(*arrays)
    )


def test_off_is_relative_and_agrees_is_both_within_fifteen_per_cent():
    within = agreement([1.0] * 20, [1.14] * 20)
    assert within.p50_off == pytest.approx(0.14)
    assert within.agrees
    assert not agreement([1.0] * 20, [1.16] * 20).agrees
    assert not agreement([1.0] * 20, [1.0] * 15 + [1.3] * 5).agrees
    assert not agreement([1.0] * 20, [0.8] * 20).agrees


def test_only_valid_predicted_loads_below_capacity_are_judged():
    fine = agreement([1], [1])
    worse = agreement([1], [1], verdict="contaminated")
    near = agreement([1], [5], load=0.8)
    unpredicted = agreement([1], None)
    assert [each.is_judged for each in (fine, worse, near, unpredicted)] == [True, False, False, False]
    assert (unpredicted.simulated_p50_s, unpredicted.p50_off) == (None, None)
    assert summary_line([fine, worse, near, replace(fine, p95_off=0.5)]) == (
        "out of sample (the load's rate left out of the fit), p50 and p95 within 15% of measured at 1 of 2 valid loads "
        "below 80% of the most that the design answered (of 4 loads)"
    )


def test_an_unanswered_request_is_infinitely_late_on_either_side():
    inf = float("inf")
    half = agreement([1.0] * 90 + [inf] * 10, [1.0] * 40 + [inf] * 60)
    assert (half.latency_p50_s, half.latency_p95_s, half.simulated_p50_s, half.p50_off) == (1.0, None, None, None)
    assert not half.agrees
    # One of a hundred never came: the 95th percentile of all lies among the answers.
    values = [*range(99), inf]
    assert agreement(values, values).latency_p95_s == pytest.approx(np.percentile(range(100), 95))


def test_the_table_is_csv():
    lines = AGREEMENT.text([agreement([1, 2], [1, 3], speed=1.25), agreement([1, 2], None)]).splitlines()
    assert lines[0] == ",".join(AGREEMENT.columns)
    assert lines[1].startswith("batched,poisson,50,1,0.5,valid,1.25,true,1.5,2,0.333333,1.95,2.9,")
    assert lines[2].startswith("batched,poisson,50,1,0.5,valid,1,false,1.5,,,1.95,,")
