"""Routing policies on snapshots of replica loads."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.routing import POLICIES, Load, least_outstanding, least_work, power_of_two, round_robin

LOADS = st.lists(
    st.builds(Load, st.just("a"), st.integers(0, 50), st.none() | st.floats(0.1, 100)), min_size=1, max_size=8
)


@pytest.mark.parametrize("name", POLICIES)
@given(loads=LOADS, turn=st.integers(0, 1000), seed=st.integers(0, 9))
def test_every_policy_names_one_of_the_replicas(name: str, loads: list[Load], turn: int, seed: int) -> None:
    assert 0 <= POLICIES[name](loads, turn, Random(seed)) < len(loads)


def test_round_robin_takes_turns() -> None:
    loads = [Load("a", 9), Load("b", 0), Load("c", 0)]
    assert [round_robin(loads, turn, Random(0)) for turn in range(4)] == [0, 1, 2, 0]


def test_least_outstanding_takes_the_idlest_and_rotates_ties() -> None:
    assert least_outstanding([Load("a", 3), Load("b", 1), Load("c", 2)], 0, Random(0)) == 1
    even = [Load("a", 1), Load("b", 1), Load("c", 1)]
    assert [least_outstanding(even, turn, Random(0)) for turn in range(4)] == [0, 1, 2, 0]


def test_power_of_two_never_takes_the_worst_of_three() -> None:
    rng = Random(1)
    loads = [Load("a", 5), Load("b", 1), Load("c", 3)]
    picked = Counter(power_of_two(loads, turn, rng) for turn in range(300))
    assert set(picked) == {1, 2}
    assert picked[1] > picked[2]


def test_least_work_prefers_the_faster_replica_at_equal_queues() -> None:
    assert least_work([Load("a", 4, 10.0), Load("b", 4, 20.0)], 0, Random(0)) == 1
    assert least_work([Load("a", 1, 10.0), Load("b", 4, 20.0)], 0, Random(0)) == 0


def test_least_work_tries_a_replica_without_a_measurement() -> None:
    assert least_work([Load("a", 2, 10.0), Load("b", 0)], 0, Random(0)) == 1
    assert least_work([Load("a", 2, 10.0), Load("b", 1), Load("c", 0, 2.0)], 0, Random(0)) == 0, "one is a trial"


def test_one_that_has_just_come_back_gets_less() -> None:
    loads = [Load("a", 4, 10.0), Load("b", 0, 10.0, share=0.1)]
    for name in ("least_outstanding", "least_work", "power_of_two"):
        assert POLICIES[name](loads, 0, Random(0)) == 0
