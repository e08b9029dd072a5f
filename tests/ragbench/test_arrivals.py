import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ragbench.arrivals import ARRIVALS, Span, ideal, poisson

rates = st.floats(min_value=0.5, max_value=500)
seeds = st.integers(min_value=0, max_value=2**32)
arrivals = st.sampled_from(sorted(ARRIVALS))
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
