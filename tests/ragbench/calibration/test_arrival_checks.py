import csv

import numpy as np
import pytest
from scipy import integrate

from ragbench.calibration.arrival_checks import CHECKS, KNOWN_BAD, LAWS, check
from ragbench.study.arrivals import ARRIVALS, Span, gamma, ideal, on_off, poisson
from tests.ragbench.running import ragbench


def test_every_arrival_has_a_law():
    assert LAWS.keys() == ARRIVALS.keys()


def test_the_dispersion_of_bursts_is_that_of_counts():
    for arrival, law, parameters in (
        (gamma, LAWS["gamma"], {"cv": 3.0}),
        (on_off, LAWS["on_off"], {"on_s": 1.0, "off_s": 2.0}),
    ):
        due = arrival(10, Span(duration_s=200_000), np.random.default_rng(1), **parameters)
        counts = np.bincount((due / 4.0).astype(int), minlength=50_000)
        assert np.var(counts) / np.mean(counts) == pytest.approx(law(**parameters).dispersion(10, 4.0), rel=0.04)


@pytest.mark.slow
def test_laws_at_their_limits():
    assert LAWS["gamma"](cv=1.0).dispersion(10, 4.0) == pytest.approx(1.0, abs=1e-3)  # Poisson
    assert LAWS["gamma"](cv=3.0).dispersion(10, 400.0) == pytest.approx(9.0, rel=0.02)  # cv^2 over long windows
    assert LAWS["on_off"](on_s=1.0, off_s=1e-3).dispersion(10, 4.0) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("law", [LAWS["gamma"](), LAWS["on_off"](), LAWS["poisson"]()])
def test_the_mean_gap_of_each_law_is_one_over_the_rate(law):
    mean_s, _ = integrate.quad(lambda x: 1 - float(law.cdf(np.array([x]), 2.0)[0]), 0, np.inf, limit=500)
    assert mean_s == pytest.approx(0.5, rel=1e-3)


def drawn(arrival, seed=1):
    return lambda rate: arrival(rate, Span(duration_s=4000.0), np.random.default_rng([seed, round(rate)]))


def found(spoil):
    """The checks that Poisson arrivals fail once `spoil(due)` has had them."""
    checks = check(lambda rate: spoil(drawn(poisson)(rate)), LAWS["poisson"]())
    return {one.name for one in checks if not one.passed(1e-5)}


def lulls(due):
    """Every second window empty, the next twice as full."""
    return np.sort(due + 20.0 * (np.floor(due / 20) % 2 == 0))


def longest_first(due):
    """The same gaps, within every ten of them the longest first."""
    gaps = np.diff(due)[: (len(due) - 1) // 10 * 10].reshape(-1, 10)
    return np.cumsum(-np.sort(-gaps, axis=1))


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("rate", lambda due: due[due < 3800]),
        ("gaps", lambda due: np.round(due, 1)),
        ("dispersion", lulls),
        ("lag-1", longest_first),
    ],
)
def test_each_check_finds_what_it_is_for(name, spoil):
    assert name in found(spoil)
    assert found(lambda due: due) == set()


def test_even_spacing_that_wavers_is_found():
    def wavering(rate):
        due = drawn(ideal)(rate)
        return due + 1e-4 * np.sin(np.arange(len(due)))

    failed = {c.name for c in check(wavering, LAWS["ideal"]()) if not c.passed(1e-5)}
    assert "gaps" in failed
    assert all(c.passed(1e-5) for c in check(drawn(ideal), LAWS["ideal"]()))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (ARRIVALS["step"], lambda rate, span, rng: ARRIVALS["step"](rate, span, rng, share=0.25)),
        (ARRIVALS["step"], lambda rate, span, rng: ARRIVALS["step"](rate, span, rng, down=0.7)),
        (ARRIVALS["ramp"], lambda rate, span, rng: ARRIVALS["ramp"](rate, span, rng, share=0.15)),
    ],
)
def test_a_rate_that_varies_otherwise_than_named_is_found(right, wrong):
    law = LAWS[right.__name__]()
    for seed in range(3):
        assert all(c.passed(1e-5) for c in check(drawn(right, seed), law))
        assert not all(c.passed(1e-5) for c in check(drawn(wrong, seed), law))


def test_the_clock_of_a_varying_rate_counts_the_arrivals_expected():
    at = np.array([0.0, 0.25, 0.5, 0.75, 1.0]) * 4000
    # High is twice the mean where the low is none to speak of and the high lasts for half of the time.
    assert LAWS["step"](share=1e-9, up=0.25, down=0.75).clock(at) / 4000 == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)
    # A triangle of height 2: its first quarter is a half of 0.25 x 1.
    assert LAWS["ramp"](share=1e-9).clock(at) / 4000 == pytest.approx([0, 0.125, 0.5, 0.875, 1], abs=1e-6)
    assert LAWS["ramp"](share=1.0).clock(at) == pytest.approx(at)


@pytest.mark.parametrize("name", KNOWN_BAD)
def test_a_known_bad_generator_is_rejected(name):
    for seed in range(3):
        assert not all(c.passed(1e-5) for c in check(drawn(KNOWN_BAD[name], seed), LAWS["poisson"]()))


@pytest.mark.slow
def test_the_command_prints_and_writes_the_table(tmp_path):
    done = ragbench("calibrate", "--arrivals", "--seeds", "1", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("as named") == 8
    assert done.stdout.count("rejected") >= 3
    rows = list(csv.DictReader((tmp_path / "arrivals.csv").read_text().splitlines()))
    assert len(rows) == 11 * len(CHECKS)
    failed = {row["arrival"] for row in rows if row["passed"] == "false"}
    assert failed == set(KNOWN_BAD)
