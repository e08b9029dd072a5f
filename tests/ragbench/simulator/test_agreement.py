"""What is said of a simulated load beside the measured one."""

from dataclasses import replace

import numpy as np
import pytest

from ragbench.columns import Window
from ragbench.records import Row
from ragbench.simulator.agreement import COLUMNS, Pair, agree, agreement_csv, latencies, told


def pair(measured, simulated, verdict="valid", speed=1.0):
    return Pair(verdict, np.array(measured, dtype=float), np.array(simulated, dtype=float), speed)


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


def test_only_valid_loads_below_capacity_are_judged():
    fine = agreement(pair([1], [1]))
    worse = agreement(pair([1], [1]), pair([1], [1], verdict="contaminated"))
    near = agreement(pair([1], [5]), rate=80.0)
    assert [one.is_judged for one in (fine, worse, near)] == [True, False, False]
    assert worse.verdict == "contaminated"
    assert told([fine, worse, near, replace(fine, p95_off=0.5)]) == (
        "p50 and p95 within 15% at 1 of 2 valid loads below 80% of the most that the design answered (of 4 loads)"
    )


def test_a_load_without_answers_is_left_out():
    assert agreement(pair([], [1])) is None
    assert agreement(pair([1], [])) is None


def test_the_table_is_csv():
    lines = agreement_csv([agreement(pair([1, 2], [1, 3], speed=1.25))]).splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[1].startswith("batched,poisson,50,1,0.5,valid,1.25,1.5,2,0.333333,")


def test_latencies_are_of_answers_due_in_the_window():
    rows = [Row(n, "q", float(n), float(n), n + 0.5, 0.5 + n / 10, 0.0, "ok", 200) for n in range(5)]
    rows[2] = replace(rows[2], status="timeout")
    assert latencies(rows, Window(1.0, 3.0)).tolist() == [0.6, 0.8]
