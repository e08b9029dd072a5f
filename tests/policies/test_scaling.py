"""Scaling policies in virtual time: when they step, how far, and what holds them back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.scaling import POLICIES, Fleet, Limits, OutstandingTarget, RequestRate

LIMITS = Limits(min_replicas=2, max_replicas=5, up_cooldown_s=3.0, down_cooldown_s=30.0)


def fleet(ready: int = 2, starting: int = 0, outstanding: int = 0, wait_s: float = 0.0, rps: float = 0.0) -> Fleet:
    return Fleet(ready, starting, outstanding, wait_s, rps)


def test_outstanding_work_asks_for_enough_replicas_at_once() -> None:
    policy = OutstandingTarget(LIMITS, outstanding_per_replica=10)
    assert policy.target(fleet(outstanding=41), 0.0).replicas == 5
    assert policy.target(fleet(outstanding=20), 100.0).replicas == 2


def test_starting_replicas_count_as_capacity() -> None:
    policy = OutstandingTarget(LIMITS, outstanding_per_replica=10)
    assert policy.target(fleet(ready=2, starting=2, outstanding=40, wait_s=9.0), 0.0).reason == "hold"


def test_a_long_queue_wait_asks_for_one_more() -> None:
    policy = OutstandingTarget(LIMITS, outstanding_per_replica=100, queue_wait_target_s=0.5)
    assert policy.target(fleet(outstanding=5, wait_s=0.6), 0.0).replicas == 3
    assert policy.target(fleet(ready=3, outstanding=5, wait_s=0.6), 1.0).reason == "hold"
    assert policy.target(fleet(ready=3, outstanding=5, wait_s=0.6), 3.0).replicas == 4


def test_down_goes_one_step_after_the_load_stayed_low_for_the_whole_cooldown() -> None:
    policy = OutstandingTarget(LIMITS, outstanding_per_replica=10)
    assert policy.target(fleet(ready=4), 0.0).replicas == 4
    assert policy.target(fleet(ready=4), 29.0).replicas == 4
    assert policy.target(fleet(ready=4), 30.0).replicas == 3
    assert policy.target(fleet(ready=3), 31.0).replicas == 3
    assert policy.target(fleet(ready=3, outstanding=30), 50.0).replicas == 3
    assert policy.target(fleet(ready=3), 61.0).replicas == 3
    assert policy.target(fleet(ready=3), 91.0).replicas == 2


def test_a_dead_replica_is_replaced_whatever_the_cooldown() -> None:
    policy = OutstandingTarget(LIMITS, outstanding_per_replica=10)
    policy.target(fleet(outstanding=50), 0.0)
    assert policy.target(fleet(ready=1), 0.1).replicas == 2


def test_request_rate_steps_up_and_down_at_its_two_rates() -> None:
    policy = RequestRate(LIMITS, up_rps=29, down_rps=25)
    assert policy.target(fleet(rps=28.9), 0.0).replicas == 2
    assert policy.target(fleet(rps=29.0), 1.0).replicas == 3
    assert policy.target(fleet(ready=3, rps=29.0), 2.0).replicas == 3
    assert policy.target(fleet(ready=3, rps=29.0), 4.0).replicas == 4
    assert policy.target(fleet(ready=4, rps=25.0), 5.0).replicas == 4
    assert policy.target(fleet(ready=4, rps=25.0), 35.0).replicas == 3


@pytest.mark.parametrize("name", POLICIES)
@given(
    seen=st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 3), st.integers(0, 500), st.floats(0, 9), st.floats(0, 200)),
        min_size=1,
        max_size=50,
    )
)
def test_every_policy_stays_within_its_limits(name: str, seen: list[tuple[int, int, int, float, float]]) -> None:
    policy = POLICIES[name](LIMITS)
    for now, state in enumerate(seen):
        assert 2 <= policy.target(Fleet(*state), float(now)).replicas <= 5


def test_bad_limits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"max_replicas must be >= 1 and >= min_replicas \(3\), got 2"):
        Limits(3, 2, 0.0, 0.0)
    with pytest.raises(ValueError, match="min_replicas"):
        Limits(-1, 2, 0.0, 0.0)
    with pytest.raises(ValueError, match="max_replicas must be >= 1"):
        Limits(0, 0, 0.0, 0.0)
    with pytest.raises(ValueError, match="down_rps"):
        RequestRate(LIMITS, up_rps=10, down_rps=10)
    with pytest.raises(ValueError, match="down_rps"):
        RequestRate(LIMITS, up_rps=10, down_rps=0)
    assert RequestRate(LIMITS, up_rps=0.5, down_rps=0.25).down_rps == 0.25


@pytest.mark.parametrize("name", POLICIES)
def test_a_fleet_may_go_to_nothing_and_comes_back_with_the_first_request(name: str) -> None:
    policy = POLICIES[name](Limits(0, 4, up_cooldown_s=60.0, down_cooldown_s=10.0))
    asked = Fleet(0, 0, outstanding=1, queue_wait_p95_s=0.0, arrival_rps=0.2)
    assert policy.target(asked, 0.0).replicas == 1
    busy, idle = Fleet(1, 0, 1, 0.0, 0.2), Fleet(1, 0, 0, 0.0, 0.0)
    assert [policy.target(busy, now).replicas for now in (1.0, 30.0)] == [1, 1]
    assert [policy.target(idle, now).replicas for now in (31.0, 40.0, 41.0)] == [1, 1, 0]
    assert policy.target(asked, 42.0).replicas == 1, "no cool-down while nobody is there"
    nobody = Fleet(0, 0, outstanding=0, queue_wait_p95_s=0.0, arrival_rps=0.0)
    assert policy.target(nobody, 50.0).reason == "hold"
