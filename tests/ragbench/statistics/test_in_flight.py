import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragbench.statistics.in_flight import in_flight_at, mean_in_flight, most_in_flight

STARTS = np.array([0.0, 1.0, 1.5])
ENDS = np.array([2.0, 1.25, 4.0])
spans = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 30)), min_size=1, max_size=20)


def test_three_requests_by_hand():
    assert in_flight_at(STARTS, ENDS, np.array([-1.0, 0.0, 1.1, 1.3, 1.6, 3.0, 4.0])).tolist() == [0, 1, 2, 1, 2, 1, 0]
    # 0-1: one. 1-2: one throughout, one for 0.25 s, one for 0.5 s. 2-4: one.
    assert mean_in_flight(STARTS, ENDS, np.array([0.0, 1.0, 2.0, 4.0])).tolist() == pytest.approx([1.0, 1.75, 1.0])
    assert most_in_flight(STARTS, ENDS, low=0.0, high=4.0) == 2
    assert most_in_flight(STARTS, ENDS, low=2.5, high=4.0) == 1
    assert most_in_flight(np.array([]), np.array([]), low=0.0, high=1.0) == 0


def test_what_never_ends_stays():
    assert in_flight_at(STARTS, np.array([]), np.array([9.0])).tolist() == [3]


@given(spans)
def test_counts_and_means_are_those_of_every_instant_counted_out(pairs):
    """Half-second ticks against whole-second stamps: between two stamps nothing changes."""
    starts = np.array([start for start, _ in pairs], dtype=float)
    ends = starts + np.array([length for _, length in pairs], dtype=float)
    ticks = np.arange(0, 80) + 0.5
    counted = [sum(start <= tick < end for start, end in zip(starts, ends, strict=True)) for tick in ticks]
    assert in_flight_at(starts, ends, ticks).tolist() == counted
    assert mean_in_flight(starts, ends, np.array([0.0, 80.0]))[0] == pytest.approx(sum(counted) / 80)
    assert most_in_flight(starts, ends, low=0.0, high=80.0) == max(counted)
