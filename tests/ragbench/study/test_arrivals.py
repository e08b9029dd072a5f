import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ragbench.study.arrivals import (
    ARRIVALS,
    ArrivalError,
    Span,
    gamma,
    ideal,
    on_off,
    parse_arrival,
    poisson,
    ramp,
    step,
    step_up_s,
    uniform,
)

rates = st.floats(min_value=0.5, max_value=500)
seeds = st.integers(min_value=0, max_value=2**32)
arrivals = st.sampled_from(sorted(ARRIVALS.keys() - {"trace"}))  # test_trace.py has that one
spans = st.one_of(
    st.integers(min_value=1, max_value=300).map(lambda n: Span(requests=n)),
    st.floats(min_value=0.05, max_value=5).map(lambda s: Span(duration_s=s)),
)


def rng(seed=0):
    return np.random.default_rng(seed)


@given(arrivals, rates, spans, seeds)
def test_due_times_never_go_back_and_stay_within_the_span(arrival, rate, span, seed):
    due = ARRIVALS[arrival](rate, span, rng(seed))
    assert np.all(np.diff(due) >= 0)
    assert np.all(due >= 0)
    if span.requests is not None:
        assert len(due) == span.requests
    else:
        assert np.all(due < span.duration_s)


@given(arrivals, rates, spans, seeds)
def test_same_seed_same_due_times(arrival, rate, span, seed):
    first, second = (ARRIVALS[arrival](rate, span, rng(seed)) for _ in range(2))
    assert np.array_equal(first, second)


def test_ideal_is_evenly_spaced_from_zero():
    assert ideal(4, Span(requests=5), rng()).tolist() == [0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("rate", "duration_s", "n"), [(20, 3, 60), (7, 0.3, 3), (60, 0.1, 6), (3, 1 / 3, 1), (1, 0.5, 1)]
)
def test_ideal_fills_a_duration(rate, duration_s, n):
    assert len(ideal(rate, Span(duration_s=duration_s), rng())) == n


def test_ideal_gaps_do_not_vary():
    gaps = np.diff(ideal(180, Span(duration_s=60), rng()))
    assert np.std(gaps) / np.mean(gaps) < 1e-9


def test_poisson_gaps_are_exponential_with_the_right_mean():
    due = poisson(10, Span(requests=5000), rng(3))
    gaps = np.diff(due, prepend=0)
    assert np.mean(gaps) == pytest.approx(0.1, rel=0.05)
    assert stats.kstest(gaps, "expon", args=(0, 0.1)).pvalue > 0.01
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.05


def test_poisson_count_is_random_over_a_duration():
    counts = [len(poisson(50, Span(duration_s=2), rng(seed))) for seed in range(400)]
    assert np.mean(counts) == pytest.approx(100, rel=0.02)
    assert np.var(counts) / np.mean(counts) == pytest.approx(1, abs=0.25)


def test_poisson_over_a_duration_runs_to_its_end():
    last = [poisson(50, Span(duration_s=2), rng(seed))[-1] for seed in range(400)]
    assert 2 - np.mean(last) == pytest.approx(1 / 50, rel=0.2)


def test_poisson_pins_no_arrival_to_a_whole_second():
    due = poisson(5, Span(duration_s=200), rng(1))
    assert np.min(np.abs(due - np.round(due))) < 0.05
    assert stats.kstest(due % 1, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ({}, "exactly one of duration_s and requests"),
        ({"duration_s": 1, "requests": 1}, "exactly one of duration_s and requests"),
        ({"duration_s": 0}, "duration_s must be > 0, got 0"),
        ({"duration_s": float("nan")}, "duration_s must be > 0, got nan"),
        ({"requests": 0}, "requests must be >= 1, got 0"),
    ],
)
def test_span_refuses(span, message):
    with pytest.raises(ValueError, match=message):
        Span(**span)


def test_expectations_of_a_span():
    assert Span(duration_s=3).expected_s(20) == 3
    assert Span(requests=60).expected_s(20) == 3


def test_uniform_has_a_fixed_count_anywhere_in_the_span():
    due = uniform(30, Span(duration_s=20.016), rng(1))
    assert len(due) == 600
    assert stats.kstest(due / 20.016, "uniform").pvalue > 0.01
    assert len(uniform(0.1, Span(duration_s=1), rng())) == 1  # no load is empty
    assert max(uniform(10, Span(requests=50), rng(2))) < 5.0


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
def test_gamma_gaps_have_the_mean_and_the_spread_they_are_named_for(cv):
    gaps = np.diff(gamma(10, Span(requests=40_000), rng(4), cv=cv))
    assert np.mean(gaps) == pytest.approx(0.1, rel=0.05)
    assert np.std(gaps) / np.mean(gaps) == pytest.approx(cv, rel=0.05)


def test_gamma_of_cv_1_is_poisson():
    gaps = np.diff(gamma(10, Span(requests=5000), rng(5), cv=1.0))
    assert stats.kstest(gaps, "expon", args=(0, 0.1)).pvalue > 0.01


@pytest.mark.parametrize(("arrival", "parameters"), [(gamma, {"cv": 3.0}), (on_off, {"on_s": 1.0, "off_s": 3.0})])
def test_a_short_burst_process_has_the_load_that_was_named(arrival, parameters):
    # 40 arrivals are wanted. A gamma process begun with a whole gap would have (3^2 - 1) / 2 = 4 more of them, and an
    # on-off process begun in an on period 33 more.
    counts = [len(arrival(20, Span(duration_s=2), rng(seed), **parameters)) for seed in range(6000)]
    assert np.mean(counts) == pytest.approx(40, abs=5 * np.std(counts) / 6000**0.5)
    assert np.std(counts) / 6000**0.5 < 0.7


def test_on_off_is_silent_for_its_share_of_time_and_poisson_otherwise():
    due = on_off(20, Span(duration_s=20_000), rng(6), on_s=2.0, off_s=2.0)
    gaps = np.diff(due)
    # While on it sends 40/s; a pause of more than 0.5 s (e^-20 while on) is an off period: one in 4 s of all time.
    pauses = gaps[gaps > 0.5]
    assert len(pauses) / 20_000 == pytest.approx(0.25 * np.exp(-0.25), rel=0.05)
    assert np.mean(pauses) == pytest.approx(2.5, rel=0.05)  # memoryless: what is longer than 0.5 s lasts 2 s more
    assert np.median(gaps) == pytest.approx(np.log(2) / 40, rel=0.03)


parts = st.floats(min_value=0.001, max_value=0.999)


@given(st.floats(min_value=0.001, max_value=1), st.tuples(parts, parts).filter(lambda pair: pair[0] < pair[1]), seeds)
def test_step_and_ramp_have_the_mean_that_was_named(share, edges, seed):
    up, down = edges
    for due in (
        step(500, Span(duration_s=20), rng(seed), share=share, up=up, down=down),
        ramp(500, Span(duration_s=20), rng(seed), share=share),
    ):
        assert len(due) == pytest.approx(10_000, abs=6 * 100)
        assert np.all(np.diff(due) >= 0)
        assert 0 <= due[0] <= due[-1] < 20


def test_step_is_high_between_up_and_down_and_the_share_of_that_elsewhere():
    due = step(470, Span(duration_s=100), rng(1), share=0.2, up=0.3, down=0.6)
    low, high = (np.count_nonzero(part) for part in (due < 30, (due >= 30) & (due < 60)))
    assert high / 30 == pytest.approx(470 / 0.44, rel=0.02)  # 0.2 x 0.7 + 0.3 = 0.44 of the high rate is the mean
    assert low / 30 == pytest.approx(0.2 * 470 / 0.44, rel=0.05)
    assert np.count_nonzero(due >= 60) / 40 == pytest.approx(0.2 * 470 / 0.44, rel=0.05)


def test_ramp_peaks_in_the_middle_and_falls_as_it_rose():
    counts, _ = np.histogram(ramp(550, Span(duration_s=100), rng(2), share=0.1), 10, (0, 100))
    # The peak is 2 / 1.1 of the mean, 1,000/s; each tenth is a fifth of the way from 100/s to there.
    assert counts.tolist() == pytest.approx(
        [10 * rps for rps in (190, 370, 550, 730, 910, 910, 730, 550, 370, 190)], rel=0.05
    )


@pytest.mark.parametrize("arrival", [step, ramp])
def test_a_fixed_number_varies_as_a_duration_does(arrival):
    known, drawn = arrival(100, Span(requests=10_000), rng(3)), arrival(100, Span(duration_s=100), rng(4))
    assert stats.ks_2samp(known, drawn).pvalue > 0.01


@pytest.mark.parametrize(
    ("arrival", "moment"), [("step:up=0.2", 30.0), ("step", 49.5), ("ramp", None), ("poisson", None), ("closed", None)]
)
def test_when_the_rate_steps_up(arrival, moment):
    assert step_up_s(arrival, 150.0) == (None if moment is None else pytest.approx(moment))


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("poisson", "poisson", {}),
        ("gamma:cv=3", "gamma", {"cv": 3.0}),
        ("on_off:on_s=0.5, off_s=3", "on_off", {"on_s": 0.5, "off_s": 3.0}),
        ("trace:path=traces/x=1.csv", "trace", {"path": "traces/x=1.csv"}),
    ],
)
def test_an_arrival_as_text(text, name, parameters):
    spec = parse_arrival(text)
    assert (spec.name, spec.parameters) == (name, parameters)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weekly", r"'weekly' is unknown \(known: ideal, poisson, uniform, gamma, on_off, step, ramp, trace\)"),
        ("", "'' is unknown"),
        ("poisson:cv=3", "'poisson:cv=3': cannot read 'cv=3'; wanted poisson alone"),
        ("gamma:", "cannot read ''; wanted gamma:cv=2.0"),
        ("gamma:vc=3", "cannot read 'vc=3'; wanted gamma:cv=2.0"),
        ("gamma:cv=3,cv=4", "cannot read 'cv=4'"),
        ("gamma:cv=fast", "cv must be a number from 0.01 to 100, got 'fast'"),
        ("gamma:cv=0", "cv must be a number from 0.01 to 100, got '0'"),
        ("gamma:cv=nan", "cv must be a number from 0.01 to 100, got 'nan'"),
        ("on_off:on_s=-1", "on_s must be a number from 0.001"),
        ("step:share=0", "share must be a number from 0.001 to 1, got '0'"),
        ("step:up=0.5,down=0.5", r"up must be below down, got 0\.5 and 0\.5"),
        ("step:down=0.3", r"up must be below down, got 0\.33 and 0\.3"),
        ("trace", r"'trace' lacks path; wanted trace:path=\.\.\."),
        ("trace:path=", "path must not be empty"),
    ],
)
def test_an_arrival_that_cannot_be_read(text, message):
    with pytest.raises(ArrivalError, match=message):
        parse_arrival(text)
