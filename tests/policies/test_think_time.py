"""The share of answered users who are back by a time, for users and for arrivals that know nothing of the server."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.think_time import Back, ThinkTimes


def rounds(arrivals_s: list[list[float]], *, answered: int, length_s: float = 1.0) -> ThinkTimes:
    """A batch of `answered` ends every `length_s`; then arrivals at these seconds after each end."""
    times = ThinkTimes()
    times.ended(0.0, answered)
    for number, each in enumerate(arrivals_s):
        for after_s in each:
            times.arrived(number * length_s + after_s)
        times.ended((number + 1) * length_s, answered)
    return times


def test_before_two_batches_nothing_is_known() -> None:
    times = ThinkTimes()
    assert times.curve() == ()
    times.arrived(0.0)
    times.ended(1.0, 3)
    times.arrived(1.1)
    assert times.curve() == ()


def test_the_share_that_is_back_grows_with_time() -> None:
    curve = rounds([[0.1, 0.2, 0.3, 0.4]] * 3, answered=4).curve()
    shares = {round(back.after_s, 9): back.share for back in curve}
    assert shares == {0.1: 0.25, 0.2: 0.5, 0.3: 0.75, 0.4: 1.0}


def test_arrivals_by_chance_are_subtracted() -> None:
    """Of ten answered, eight come at 0.25; beside them two come soon and two later."""
    [*_, last] = rounds([[0.1, *[0.25] * 8, 0.4, 0.6, 0.9]] * 5, answered=10).curve()
    assert last == Back(pytest.approx(0.4), pytest.approx((10 - 2 * 0.4 / 0.5) / 10))


@pytest.mark.parametrize("rate", [2.0, 10.0, 40.0])
def test_open_arrivals_are_nobody_who_comes_back(rate: float) -> None:
    """Poisson arrivals, runs of a second, each of which answers those who came during the one before."""
    tails = []
    for seed in range(50):
        rng, times = random.Random(seed), ThinkTimes()
        answered = 1
        for number in range(20):
            times.ended(float(number), answered)
            arrivals = sorted(rng.random() for _ in range(sum(rng.random() < rate / 1000 for _ in range(1000))))
            for after_s in arrivals:
                times.arrived(number + after_s)
            answered = max(1, len(arrivals))
        tails.append(max(back.share for back in times.curve()))
    assert max(tails) < 0.5
    assert sum(tails) / len(tails) < 0.15


def test_what_followed_a_failed_batch_does_not_count() -> None:
    times = rounds([[0.1, 0.2]], answered=2)
    before = times.curve()
    times.ended(1.5, 0)
    times.arrived(1.6)
    times.ended(2.0, 2)
    assert [back.share for back in times.curve()][-1] == pytest.approx(2 / 4), "the round from 1 to 1.5 had none"
    assert before[-1].share == 1.0


def test_it_follows_a_change_of_load_and_forgets_the_rest() -> None:
    changed = rounds([*[[0.1, 0.1]] * 1000, *[[0.7, 0.8]] * 16], answered=2)
    assert changed.curve() == ()
    assert len(changed._rounds) == 16


def test_a_flood_is_not_remembered_whole() -> None:
    times = rounds([[0.25] * 10_000], answered=2)
    assert len(times._rounds[-1].arrivals_s) == 512
    for _ in range(10_000):
        times.arrived(1.5)
    assert len(times._arrivals_s) == 512


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 1.0), st.integers(0, 9)), max_size=200))
def test_shares_are_shares_and_moments_are_in_order(steps: list[tuple[bool, float, int]]) -> None:
    times, now = ThinkTimes(), 0.0
    for is_end, gap_s, answered in steps:
        now += gap_s
        times.ended(now, answered) if is_end else times.arrived(now)
        curve = times.curve()
        assert all(0 <= back.share <= 1 for back in curve)
        assert [back.after_s for back in curve] == sorted(back.after_s for back in curve)
