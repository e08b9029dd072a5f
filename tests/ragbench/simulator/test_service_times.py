"""Service times fitted to rows whose batches are known."""

from random import Random

import numpy as np
import pytest

from ragbench.records import Row
from ragbench.simulator.service_times import Batch, FitError, ServiceTimes, fit
from tests.ragbench.simulator.known import line


def answered(start_s, size, length_s, *, sent_s=None, network_s=0.002, replica=None, first=0):
    """The rows of one batch that began at `start_s`; a quarter of the length is embedding.

    No two batches take equally long on a real clock; by that they are told apart.
    """
    length_s += 1e-9 * start_s + (1e-12 if replica == "1" else 0.0)
    stages = {"embed_s": length_s / 4, "retrieve_s": 0.0, "generate_s": 3 * length_s / 4}
    sent = start_s if sent_s is None else sent_s
    queue_s = start_s - sent
    done = sent + queue_s + length_s + network_s
    return [
        Row(
            *(first + number, "q", sent, sent, done, done - sent, 0.0, "ok", 200),
            queue_s=queue_s,
            batch_size=size,
            replica=replica,
            **stages,
        )
        for number in range(size)
    ]


def separate(sizes, *, a_s=0.01, b_s=0.003):
    """Batches far apart, one of each size."""
    return [row for place, size in enumerate(sizes) for row in answered(float(place), size, a_s + b_s * size)]


def test_the_line_is_found_again_from_rows():
    times = fit([separate([1, 2, 4, 8]), separate([1, 3, 5])])
    assert times.batches == 7
    assert (times.a_s, times.b_s) == (pytest.approx(0.01), pytest.approx(0.003))
    assert times.mean_s(16) == pytest.approx(0.058)
    assert times.way_in_s == pytest.approx(0.001)


def test_a_batch_drawn_is_a_measured_one_scaled_to_its_size():
    drawn = fit([separate([1, 2, 4, 8, 16])]).draw(6, others=0, is_rested=True, rng=Random(1))
    assert sum(drawn.stages_s) == pytest.approx(0.028)
    assert drawn.stages_s[0] == pytest.approx(0.007)
    assert list(drawn.network_s) == pytest.approx([0.002] * 6)


def test_batches_beside_other_replicas_are_drawn_for_those():
    alone = [row for k in range(20) for row in answered(2.0 * k, 4, 0.02, replica="0")]
    beside = [row for k in range(20) for row in answered(2.0 * k + 1, 4, 0.03, replica="0")]
    beside += [row for k in range(20) for row in answered(2.0 * k + 1, 4, 0.03, replica="1")]
    alone += [row for k in range(40) for row in answered(100.0 + k, 4, 0.02, replica="0")]
    times = fit([alone, beside])
    lengths = {
        n: {round(sum(times.draw(4, others=n, is_rested=True, rng=Random(s)).stages_s), 4) for s in range(40)}
        for n in (0, 1)
    }
    assert (lengths[0], 0.03 in lengths[1]) == ({0.02}, True)
    # A third replica was never measured: as with as many as were.
    assert sum(times.draw(4, others=2, is_rested=True, rng=Random(1)).stages_s) > 0


def test_the_gap_between_batches_is_measured_where_work_was_waiting():
    rows = [row for k in range(10) for row in answered(0.022 * k, 2, 0.02, sent_s=0.0 if k else None)]
    drawn = fit([rows]).draw(2, others=0, is_rested=False, rng=Random(1))
    assert drawn.turnaround_s == pytest.approx(0.002)
    assert drawn.dispatch_s == 0.0


def test_speed_is_how_much_longer_a_points_batches_took():
    times = line(0.01, 0.003)
    assert times.speed(separate([1, 4, 8])) == pytest.approx(1.0)
    assert times.speed(separate([1, 4, 8], a_s=0.012, b_s=0.0036)) == pytest.approx(1.2)
    assert times.speed([]) == 1.0


def test_rows_without_stages_cannot_be_fitted():
    rows = [Row(n, "q", 0.0, 0.0, 1.0, 1.0, 0.0, "ok", 200) for n in range(100)]
    with pytest.raises(FitError, match="0 batches are too few"):
        fit([rows])
    with pytest.raises(FitError, match="4 batches are too few"):
        ServiceTimes([Batch(1, (0.1,), 0.0, False)] * 4, networks_s=[], dispatches_s=[])


def test_one_size_alone_makes_a_line_through_nothing():
    times = fit([separate([4] * 6)])
    assert (times.a_s, times.b_s) == (0.0, pytest.approx(0.022 / 4))


def test_noise_in_is_noise_out():
    rng = np.random.default_rng(1)
    rows = [row for k in range(400) for row in answered(float(k), 1, 0.01 * rng.uniform(0.5, 1.5))]
    times = fit([rows])
    random = Random(1)
    drawn = np.array([sum(times.draw(1, others=0, is_rested=True, rng=random).stages_s) for _ in range(500)])
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
    assert times.speed(alone) == pytest.approx(1.0, abs=0.02)
    assert times.speed(beside) == pytest.approx(1.0, abs=0.02)
