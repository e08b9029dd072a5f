"""Service times fitted to rows whose batches are known."""

from random import Random

import numpy as np
import pandas as pd
import pytest

from ragbench.results.records import Row
from ragbench.simulator.batches import batches_of
from ragbench.simulator.service_times import FitError, Moment, ServiceTimes
from tests.ragbench.simulator.known import batch_of, line, on_a_line
from tests.ragbench.simulator.rows import answered, fit, separate

RESTED = 1.0


def fitted(*batches):
    return ServiceTimes(pd.concat(batches))


def drawn_s(times, size, *, others=0, idle_s=RESTED, seed=1):
    return sum(times.draw(Moment(size, others, idle_s, 0), Random(seed)).stages_s)


def test_the_line_is_found_again_from_rows():
    times = fit([separate([1, 2, 4, 8]), separate([1, 3, 5])])
    assert times.batches == 7
    assert (times.a_s, times.b_s) == (pytest.approx(0.01), pytest.approx(0.003))
    assert times.mean_s(16) == pytest.approx(0.058)
    assert times.way_in_s == pytest.approx(0.001)


def test_a_batch_drawn_is_a_measured_one_scaled_to_its_size():
    times = fit([separate([1, 2, 4, 8, 16])])
    drawn = times.draw(Moment(6, 0, RESTED, 0), Random(1))
    assert sum(drawn.stages_s) == pytest.approx(0.028)
    assert drawn.stages_s[0] == pytest.approx(0.007)
    assert times.networks_s(Moment(6, 0, RESTED, 0), Random(1)) == pytest.approx([0.002] * 6)


def test_a_batch_beside_others_is_drawn_as_if_alone_and_slowed_by_them():
    times = fitted(batch_of(4, 0.02, times=60), batch_of(4, 0.03, beside=1.0, times=60))
    assert [drawn_s(times, 4, others=n) for n in (0, 1)] == pytest.approx([0.02, 0.02], rel=0.01)
    assert [times.slowdown(4, n) for n in (0, 1)] == pytest.approx([1.0, 1.5])
    # A third replica was never measured: as with as many as were.
    assert times.slowdown(4, 2) == times.slowdown(4, 1)


def test_a_pipeline_that_has_rested_is_cold():
    times = fitted(batch_of(1, 0.008, idle_s=0.0, times=60), batch_of(1, 0.009, idle_s=0.05, times=60))
    assert (drawn_s(times, 1, idle_s=0.0), drawn_s(times, 1, idle_s=0.05)) == (0.008, 0.009)


def test_what_is_drawn_does_not_depend_on_what_was_drawn_before():
    batches = [batch_of(1, 0.008 + 1e-5 * k, idle_s=0.0005 * k) for k in range(200)]
    fresh, used = fitted(*batches), fitted(*batches)
    for idle_s in np.linspace(0.0, 0.2, 300):
        drawn_s(used, 1, idle_s=float(idle_s))
    assert [drawn_s(used, 1, idle_s=t) for t in (0.003, 0.02, 0.0215)] == [
        drawn_s(fitted(*batches), 1, idle_s=t) for t in (0.003, 0.02, 0.0215)
    ]
    assert drawn_s(fresh, 1, idle_s=0.02) < drawn_s(fresh, 1, idle_s=0.09)


def test_a_network_is_as_slow_as_its_company():
    times = fitted(
        batch_of(1, 0.01, network_s=0.002, times=60), batch_of(1, 0.01, network_s=0.006, beside=1.0, times=60)
    )
    assert times.networks_s(Moment(1, 0, 0.0, 0), Random(1)) == pytest.approx([0.002])
    assert times.networks_s(Moment(1, 1, 0.0, 0), Random(1)) == pytest.approx([0.006])


def test_the_gap_between_batches_is_drawn_where_work_was_waiting():
    rows = [row for k in range(10) for row in answered(0.022 * k, 2, 0.02, sent_s=0.0 if k else None)]
    drawn = fit([rows]).draw(Moment(2, 0, 0.0, 0), Random(1))
    assert (drawn.turnaround_s, drawn.dispatch_s) == (pytest.approx(0.002), 0.0)


def test_other_batches_keep_the_network_of_the_server():
    around = batches_of(separate([1, 2, 4, 8, 16]))
    times = ServiceTimes(on_a_line(0.0, 0.001), around=around)
    assert times.mean_s(4) == pytest.approx(0.004)
    assert times.networks_s(Moment(4, 0, RESTED, 0), Random(1)) == pytest.approx([0.002] * 4)


def test_speed_is_how_much_longer_a_points_batches_took():
    times = line(0.01, 0.003)
    assert times.speed(batches_of(separate([1, 4, 8]))) == pytest.approx(1.0)
    assert times.speed(batches_of(separate([1, 4, 8], a_s=0.012, b_s=0.0036))) == pytest.approx(1.2)
    assert times.speed(batches_of([])) == 1.0


def test_rows_without_stages_cannot_be_fitted():
    rows = [Row(n, "q", 0.0, 0.0, 1.0, 1.0, 0.0, "ok", 200) for n in range(100)]
    with pytest.raises(FitError, match="0 batches are too few"):
        fit([rows])
    with pytest.raises(FitError, match="4 batches are too few"):
        ServiceTimes(batch_of(1, 0.1, times=4))


def test_one_size_alone_makes_a_line_through_nothing():
    times = fit([separate([4] * 6)])
    assert (times.a_s, times.b_s) == (0.0, pytest.approx(0.022 / 4))


def test_noise_in_is_noise_out():
    rng = np.random.default_rng(1)
    rows = [row for k in range(400) for row in answered(float(k), 1, 0.01 * rng.uniform(0.5, 1.5))]
    times, random = fit([rows]), Random(1)
    drawn = np.array([sum(times.draw(Moment(1, 0, RESTED, 0), random).stages_s) for _ in range(500)])
    assert drawn.mean() == pytest.approx(0.01, rel=0.1)
    assert drawn.std() == pytest.approx(0.01 * 12**-0.5, rel=0.2)


def test_a_line_that_would_start_below_nothing_starts_at_nothing():
    times = fit([separate(range(2, 9), a_s=-0.002, b_s=0.003)])
    assert times.a_s == 0.0
    sizes = np.arange(2, 9)
    assert times.b_s == pytest.approx(np.sum(sizes * (0.003 * sizes - 0.002)) / np.sum(sizes**2))


def test_what_other_replicas_add_is_no_drift_of_the_machine():
    alone = [row for k in range(30) for row in answered(float(k), 1 + k % 4, 0.01 + 0.002 * (1 + k % 4), replica="0")]
    beside = [
        row
        for k in range(30)
        for replica in "01"
        for row in answered(float(k), 1 + k % 4, 0.01 + 0.004 * (1 + k % 4), replica=replica)
    ]
    times = fit([alone, beside])
    assert times.b_s == pytest.approx(0.002, rel=0.05)
    assert times.speed(batches_of(alone)) == pytest.approx(1.0, abs=0.02)
    assert times.speed(batches_of(beside)) == pytest.approx(1.0, abs=0.02)
