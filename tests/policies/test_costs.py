"""The line through the batches that ran: found, robust, up to date, bounded."""

import random
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.costs import Costs, Line


def costs(*runs: tuple[int, float]) -> Costs:
    made = Costs()
    for size, run_s in runs:
        made.ran(size, run_s)
    return made


@given(st.floats(0.0, 0.1), st.floats(0.0001, 0.01), st.lists(st.integers(1, 64), min_size=2, max_size=100))
def test_it_finds_the_times_that_made_the_batches(fixed_s: float, each_s: float, sizes: list[int]) -> None:
    if len(set(sizes[-64:])) < 2:
        sizes = [*sizes[-63:], sizes[-1] + 1]
    line = costs(*((size, fixed_s + each_s * size) for size in sizes)).line()
    assert line is not None
    assert (line.fixed_s, line.each_s) == (pytest.approx(fixed_s, abs=1e-6), pytest.approx(each_s, abs=1e-6))


def test_it_finds_them_in_noise_and_among_stalls() -> None:
    """Batches a tenth longer or shorter, of which every tenth takes a second more."""
    rng = random.Random(1)
    made = Costs()
    for number in range(64):
        size = rng.randint(1, 32)
        made.ran(size, (0.02 + 0.002 * size) * rng.uniform(0.9, 1.1) + (1.0 if number % 10 == 5 else 0.0))
    line = made.line()
    assert line is not None
    assert line.fixed_s == pytest.approx(0.02, rel=0.25)
    assert line.each_s == pytest.approx(0.002, rel=0.15)


def test_batches_of_one_size_are_all_fixed_cost() -> None:
    assert Costs().line() is None
    assert costs((8, 0.03), (8, 0.05)).line() == Line(pytest.approx(0.04), 0.0)


def test_no_time_is_negative() -> None:
    assert costs((1, 0.05), (9, 0.01)).line() == Line(pytest.approx(0.03), 0.0)
    steep = costs((1, 0.001), (9, 0.1)).line()
    assert steep == Line(0.0, pytest.approx((0.001 + 0.9) / 82))


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_after_a_drift_eight_batches_are_a_new_line(factor: float) -> None:
    rng = random.Random(2)
    made = costs(*((size, 0.01 + 0.001 * size) for size in (rng.randint(1, 32) for _ in range(64))))
    assert made.line() == Line(pytest.approx(0.01), pytest.approx(0.001))
    for size in (1, 32, 8, 16, 4, 24, 12, 20):
        made.ran(size, factor * (0.01 + 0.001 * size))
    assert made.line() == Line(pytest.approx(factor * 0.01), pytest.approx(factor * 0.001))


def test_seven_slow_batches_and_a_usual_one_are_no_drift() -> None:
    made = costs(*((size, 0.01 + 0.001 * size) for size in range(1, 33)))
    for size in (1, 32, 8, 16, 4, 24, 12):
        made.ran(size, 2 * (0.01 + 0.001 * size))
    made.ran(20, 0.03)
    assert made.line() == Line(pytest.approx(0.01, rel=0.2), pytest.approx(0.001, rel=0.2))


@given(st.lists(st.tuples(st.integers(-3, 64), st.sampled_from([0.0, -1.0, inf, -inf, nan])), max_size=100))
def test_a_duration_that_is_none_does_no_harm(garbage: list[tuple[int, float]]) -> None:
    made = costs((1, 0.011), *garbage, (9, 0.019), (0, 0.5))
    assert made.line() == Line(pytest.approx(0.01), pytest.approx(0.001))


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(5e-324, 1e300)), min_size=1, max_size=80))
def test_whatever_ran_the_line_is_finite_and_not_negative(runs: list[tuple[int, float]]) -> None:
    line = costs(*runs).line()
    assert line is not None
    assert 0 <= line.fixed_s < inf
    assert 0 <= line.each_s < inf


def test_it_forgets_the_oldest() -> None:
    made = costs(*((1, 0.5) for _ in range(10_000)), *((size, 0.01 + 0.001 * size) for size in range(1, 65)))
    assert made.line() == Line(pytest.approx(0.01), pytest.approx(0.001))
    assert len(made._runs) == 64
