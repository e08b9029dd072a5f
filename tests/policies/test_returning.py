"""The share of those answered who ask again at once, for users and for arrivals that know nothing of the server."""

import random

import pytest

from policies.returning import Returning

RUN_S = 0.05


def closed_loop(users: int, rounds: int) -> Returning:
    """All are answered together and are back one after another, 0.3 ms apart."""
    returning, now = Returning(), 0.0
    for _ in range(rounds):
        for user in range(users):
            returning.arrived(now + 0.001 + 0.0003 * user)
        now += RUN_S
        returning.ended(now, users)
    return returning


def open_loop(rate: float, runs: int, seed: int) -> Returning:
    """Poisson arrivals; each run answers those that came during the one before."""
    rng, returning = random.Random(seed), Returning()
    due, came = rng.expovariate(rate), 1
    for run in range(1, runs + 1):
        answered, came = came, 0
        while due <= run * RUN_S:
            returning.arrived(due)
            came += 1
            due += rng.expovariate(rate)
        returning.ended(run * RUN_S, answered)
    return returning


def test_users_come_back() -> None:
    assert closed_loop(8, rounds=20).share == pytest.approx(1.0)
    assert closed_loop(1, rounds=20).share == pytest.approx(1.0)
    assert closed_loop(64, rounds=20).share == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [40.0, 200.0, 600.0])
def test_open_arrivals_do_not(rate: float) -> None:
    shares = [open_loop(rate, runs=200, seed=seed).share for seed in range(20)]
    assert max(shares) < 0.5


def test_it_follows_a_change_of_load_within_a_few_batches() -> None:
    returning = closed_loop(8, rounds=20)
    for run in range(20, 24):
        for late in range(8):
            returning.arrived(RUN_S * run + 0.02 + 0.001 * late)
        returning.ended(RUN_S * (run + 1), 8)
    assert returning.share == pytest.approx(0.8**4, abs=0.01)


def test_what_comes_soon_by_chance_is_subtracted() -> None:
    """Ten were answered at 1 s: soon is until 1.01. Five came soon, then 18 in 90 ms: two of the five by chance."""
    returning = Returning()
    returning.ended(1.0, 10)
    for number in range(5):
        returning.arrived(1.001 + 0.002 * number)
    for number in range(18):
        returning.arrived(1.012 + 0.004 * number)
    returning.ended(1.1, 10)
    assert returning.share == pytest.approx(1 + 0.2 * ((5 - 2) / 10 - 1))


def test_a_batch_that_ends_within_the_moment_has_no_chance_to_subtract() -> None:
    returning = Returning()
    returning.ended(1.0, 10)
    returning.arrived(1.001)
    returning.ended(1.01, 1)
    assert returning.share == pytest.approx(1 + 0.2 * (1 / 10 - 1))


def test_arrivals_since_the_last_end_are_counted() -> None:
    returning = Returning()
    returning.arrived(0.0)
    returning.ended(1.0, 1)
    assert (returning.since_last, returning.ended_s) == (0, 1.0)
    returning.arrived(1.1)
    returning.arrived(1.2)
    assert returning.since_last == 2
