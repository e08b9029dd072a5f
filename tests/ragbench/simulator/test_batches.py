"""Batches found again in rows whose batches are known."""

import pytest

from ragbench.simulator.batches import batches_of
from tests.ragbench.simulator.rows import answered, separate


def test_each_batch_is_found_once_with_its_size_stages_and_networks():
    found = batches_of(separate([1, 2, 4]))
    assert found["size"].tolist() == [1, 2, 4]
    assert found["length_s"].tolist() == pytest.approx([0.013, 0.016, 0.022])
    assert found["networks_s"].iloc[2] == pytest.approx((0.002,) * 4)
    assert batches_of([]).empty


def test_what_a_client_sends_late_belongs_to_the_network():
    (networks_s,) = batches_of(answered(1.0, 1, 0.01, lag_s=0.0005))["networks_s"]
    assert networks_s == pytest.approx((0.0025,))


def test_a_batch_knows_how_long_its_replica_had_rested():
    rows = answered(0.0, 1, 0.01) + answered(0.05, 1, 0.01) + answered(0.06, 1, 0.01, sent_s=0.055)
    assert batches_of(rows)["idle_s"].tolist() == [float("inf"), pytest.approx(0.04), 0.0]


def test_a_batch_knows_whom_it_met_at_its_start_and_at_its_end():
    # The second replica begins halfway through the first's batch and goes on after it; two more come meanwhile.
    rows = answered(0.0, 1, 0.02, replica="0") + answered(0.01, 2, 0.03, replica="1")
    rows += answered(0.022, 2, 0.01, sent_s=0.015, replica="0")
    found = batches_of(rows)
    assert found["others_at_end"].tolist()[:2] == [1, 0]
    assert (found["crowd_at_start"].tolist()[::2], found["crowd_at_end"].iloc[0]) == ([0, 2], 4)
    assert found["beside"].tolist()[:2] == pytest.approx([0.5, (0.01 + 0.01) / 0.03])


def test_a_wait_that_the_policy_wanted_is_no_way_to_the_engine():
    # 50 ms in the queue until the batch was too old; counted as dispatch it would be waited for twice.
    found = batches_of(
        answered(0.05, 1, 0.01, sent_s=0.0, reason="max_wait") + answered(1.0001, 1, 0.01, sent_s=1.0, reason="lone")
    )
    assert found["dispatch_s"].tolist() == pytest.approx([float("nan"), 0.0001], nan_ok=True)


def test_the_turn_of_the_next_is_measured_where_all_of_it_had_been_waiting():
    rows = answered(0.0, 2, 0.02) + answered(0.022, 2, 0.02, sent_s=0.0) + answered(0.045, 1, 0.02, sent_s=0.044)
    rows += answered(0.070, 2, 0.02, sent_s=0.05, reason="lull")
    found = batches_of(rows)
    assert found["turn_s"].tolist() == pytest.approx([0.002, *[float("nan")] * 3], nan_ok=True)
