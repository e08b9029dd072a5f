"""Weights for a proxy that picks by requests per weight: which replicas it then picks."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.routing import POLICIES, Load, least_work
from policies.weights import MOST, WEIGHTS, by_share, by_work, is_new


def test_weights_are_in_proportion_to_rates() -> None:
    assert by_work([Load("a", 0, 40.0), Load("b", 0, 10.0), Load("c", 0, 0.01)]) == [256, 64, 1]


def test_one_without_a_rate_counts_as_the_fastest_if_idle_and_as_the_slowest_with_requests() -> None:
    measured = [Load("a", 3, 40.0), Load("b", 3, 20.0)]
    assert by_work([*measured, Load("c", 0)]) == [256, 128, 256]
    assert by_work([*measured, Load("c", 1)]) == [256, 128, 128]


def test_a_slow_start_lowers_a_weight() -> None:
    assert by_work([Load("a", 0, 10.0, share=0.25), Load("b", 0, 10.0)]) == [64, 256]
    assert by_share([Load("a", 0, 999.0, share=0.25), Load("b", 0, 10.0)]) == [64, 256]


def test_no_replicas_have_no_weights() -> None:
    assert by_work([]) == by_share([]) == []


def test_only_least_work_weighs_by_rate() -> None:
    assert {name for name, weigh in WEIGHTS.items() if weigh is by_work} == {"least_work"}
    assert set(WEIGHTS) == set(POLICIES)


@pytest.mark.parametrize(
    ("weight", "before", "expected"),
    [(100, 100, False), (110, 100, False), (111, 100, True), (89, 100, True), (256, 250, True), (1, 1, False)],
)
def test_small_changes_are_no_news_except_to_the_full_weight(weight: int, before: int, expected: bool) -> None:
    assert is_new(weight, before) is expected


loads = st.builds(
    Load,
    st.just("x"),
    st.integers(0, 50),
    st.one_of(st.none(), st.floats(0.01, 1e4)),
    st.floats(0.1, 1.0),
)


@given(st.lists(loads, min_size=1, max_size=8))
def test_weights_are_within_what_haproxy_takes_and_the_highest_is_full(found: list[Load]) -> None:
    weights = by_work(found)
    assert max(weights) == MOST
    assert min(weights) >= 1


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(10.0, 100.0)), min_size=1, max_size=8))
def test_fewest_requests_per_weight_is_the_choice_of_least_work(drawn: list[tuple[int, float]]) -> None:
    """HAProxy's leastconn: the lowest (requests + 1) / weight. Up to the rounding of a weight."""
    found = [Load(str(number), outstanding, rate) for number, (outstanding, rate) in enumerate(drawn)]
    weights = by_work(found)
    costs = [(load.outstanding + 1) / weight for load, weight in zip(found, weights, strict=True)]
    chosen = least_work(found, 0, Random(0))
    assert costs[chosen] <= min(costs) * 1.05
