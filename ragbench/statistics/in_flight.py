"""How many requests were in flight, from when each started and ended. Pure; arrays in, arrays out."""

import numpy as np
from numpy.typing import NDArray

from ragbench.statistics.intervals import Floats


def in_flight_at(starts: Floats, ends: Floats, times: Floats) -> NDArray[np.int64]:
    """How many had started and not ended at each of `times`, (t,). What never ended has no entry in `ends`."""
    begun = np.searchsorted(np.sort(starts), times, side="right")
    return begun - np.searchsorted(np.sort(ends), times, side="right")


def mean_in_flight(starts: Floats, ends: Floats, edges: Floats) -> Floats:
    """The time average between neighbouring `edges` (e,) -> (e - 1,)."""
    spent_s = _spent_s(starts, edges) - _spent_s(ends, edges)
    return np.diff(spent_s) / np.diff(edges)


def most_in_flight(starts: Floats, ends: Floats, *, low: float, high: float) -> int:
    """The most in flight at once from `low` to `high`, which is either at `low` or at a start after it."""
    within = starts[(starts > low) & (starts <= high)]
    return int(np.max(in_flight_at(starts, ends, np.append(within, low)), initial=0))


def _spent_s(instants: Floats, times: Floats) -> Floats:
    """At each of `times`, the time since each earlier one of `instants`, summed."""
    ordered = np.sort(instants)
    past = np.searchsorted(ordered, times)
    return past * times - np.concatenate([[0.0], np.cumsum(ordered)])[past]
