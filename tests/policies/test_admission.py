"""Admission: who may wait, and what the refused are told."""

import pytest

from policies.admission import Admission, Admitted, Refused, smoothed


def test_the_count_is_the_bound() -> None:
    rule = Admission(max_queue=2)
    assert rule.decide(1, None) == Admitted()
    assert rule.decide(2, None) == Refused("queue full", 1)


def test_retry_after_is_the_predicted_drain_time_in_whole_seconds() -> None:
    assert Admission(max_queue=100).decide(100, 8.0) == Refused("queue full", 13)
    assert Admission(max_queue=100).decide(100, 1000.0) == Refused("queue full", 1)


def test_a_predicted_wait_over_the_limit_is_refused() -> None:
    rule = Admission(max_queue=100, max_predicted_wait_s=2.0)
    assert rule.decide(20, 10.0) == Admitted()
    assert rule.decide(21, 10.0) == Refused("predicted wait", 3)


def test_bad_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="max_queue"):
        Admission(max_queue=0)


def test_smoothed_starts_with_the_first_sample() -> None:
    assert smoothed(None, 10.0) == 10.0
    assert smoothed(10.0, 20.0) == 12.0
