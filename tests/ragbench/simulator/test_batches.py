"""Batches found again in rows whose batches are known."""

import pytest

from ragbench.simulator.batches import batches_of
from tests.ragbench.simulator.rows import answered, separate


def test_each_batch_is_found_once_with_its_size_stages_and_networks():
    found = batches_of(separate([1, 2, 4]))
    assert [batch.size for batch in found] == [1, 2, 4]
    assert [batch.length_s for batch in found] == pytest.approx([0.013, 0.016, 0.022])
    assert found[2].networks_s == pytest.approx((0.002,) * 4)
    assert batches_of([]) == []


def test_what_a_client_sends_late_belongs_to_the_network():
    (batch,) = batches_of(answered(1.0, 1, 0.01, lag_s=0.0005))
    assert batch.networks_s == pytest.approx((0.0025,))


def test_a_batch_knows_how_long_its_replica_had_rested():
    rows = answered(0.0, 1, 0.01) + answered(0.05, 1, 0.01) + answered(0.06, 1, 0.01, sent_s=0.055)
    first, rested, after = batches_of(rows)
    assert first.start.idle_s == float("inf")
    assert rested.start.idle_s == pytest.approx(0.04)
    assert after.start.idle_s == 0.0


def test_a_batch_knows_whom_it_met_at_its_start_and_at_its_end():
    # The second replica begins halfway through the first's batch and goes on after it; two more come meanwhile.
    rows = answered(0.0, 1, 0.02, replica="0") + answered(0.01, 2, 0.03, replica="1")
    rows += answered(0.022, 2, 0.01, sent_s=0.015, replica="0")
    first, second, third = batches_of(rows)
    assert (first.start.others, first.end.others, second.start.others, second.end.others) == (0, 1, 1, 0)
    assert (first.start.crowd, first.end.crowd, third.start.crowd) == (0, 4, 2)
    assert first.beside == pytest.approx(0.5)
    assert second.beside == pytest.approx((0.01 + 0.01) / 0.03)


def test_a_wait_that_the_policy_wanted_is_no_way_to_the_engine():
    # 50 ms in the queue until the batch was too old; counted as dispatch it would be waited for twice.
    found = batches_of(
        answered(0.05, 1, 0.01, sent_s=0.0, reason="max_wait") + answered(1.0001, 1, 0.01, sent_s=1.0, reason="lone")
    )
    assert [batch.dispatch_s for batch in found] == [None, pytest.approx(0.0001)]


def test_the_turn_of_the_next_is_measured_where_all_of_it_had_been_waiting():
    rows = answered(0.0, 2, 0.02) + answered(0.022, 2, 0.02, sent_s=0.0) + answered(0.045, 1, 0.02, sent_s=0.044)
    rows += answered(0.070, 2, 0.02, sent_s=0.05, reason="lull")
    found = batches_of(rows)
    assert [batch.turn_s for batch in found] == [pytest.approx(0.002), None, None, None]
