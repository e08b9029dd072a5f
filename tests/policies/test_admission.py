"""Admission: who may wait, and what the refused are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.admission import Admission, Refused, smoothed


def test_the_count_is_the_bound() -> None:
    rule = Admission(max_queue=2)
    assert rule.decide(1, None) is None
    assert rule.decide(2, None) == Refused("queue full", 1)


def test_retry_after_is_the_predicted_drain_time_in_whole_seconds() -> None:
    assert Admission(max_queue=100).decide(100, 12.6) == Refused("queue full", 13)
    assert Admission(max_queue=100).decide(100, 0.1) == Refused("queue full", 1)


def test_a_predicted_wait_over_the_limit_is_refused() -> None:
    rule = Admission(max_queue=100, max_predicted_wait_s=2.0)
    assert rule.decide(20, 2.0) is None
    assert rule.decide(21, 3.1) == Refused("predicted wait", 3)


def test_what_would_be_answered_too_late_for_its_client_is_refused() -> None:
    rule = Admission(max_queue=100)
    assert rule.decide(5, 1.6, left_s=2.0) is None
    assert rule.decide(5, 1.7, left_s=2.0) == Refused("deadline", 2)
    assert rule.decide(5, None, left_s=2.0) is None


@given(
    st.builds(Admission, st.integers(1, 20), st.none() | st.floats(0, 5), st.integers(0, 20)),
    st.integers(0, 30),
    st.none() | st.floats(0, 1e6),
    st.none() | st.floats(-5, 100),
)
def test_whoever_finds_it_open_is_admitted_whatever_is_predicted(
    rule: Admission, waiting: int, predicted_s: float | None, left_s: float | None
) -> None:
    if rule.is_open(waiting):
        assert rule.decide(waiting, predicted_s, left_s) is None
    elif waiting < rule.max_queue:
        assert rule.decide(waiting, 1e6, 1.0) is not None


def test_the_next_batch_is_never_late() -> None:
    rule = Admission(max_queue=100, max_predicted_wait_s=1.0, never_late=8)
    assert rule.decide(7, 50.0, left_s=0.1) is None
    assert rule.decide(8, 50.0, left_s=100.0) == Refused("predicted wait", 50)
    alone = Admission(max_queue=100, max_predicted_wait_s=1.0)
    assert alone.decide(0, 50.0) is None
    assert alone.decide(1, 50.0) == Refused("predicted wait", 50), "unless told otherwise one alone is never late"


def test_bad_limit_is_refused() -> None:
    assert Admission(max_queue=1).decide(0, None) is None
    with pytest.raises(ValueError, match="max_queue"):
        Admission(max_queue=0)


def test_smoothed_starts_with_the_first_sample() -> None:
    assert smoothed(None, 10.0) == 10.0
    assert smoothed(10.0, 20.0) == 12.0
