"""Whether a queue grew to the end of a point. Pure: the times of its requests in, slopes out."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t, theilslopes

from ragbench.columns import Columns, Floats, Window
from ragbench.in_flight import in_flight_at, mean_in_flight

FEWEST_TO_JUDGE = 40  # requests ended within the window
SLICES, FEW_SLICES, MANY = 20, 10, 80  # few slices for fewer than MANY requests
LEVEL = 0.95
GROWN_SHARE = 0.02  # of the requests due in the window, gained in flight over it
GROWN_LEAST = 4.0


@dataclass(frozen=True, slots=True)
class Series:
    """A value through the window, and the instants it holds for; each (k,)."""

    at_s: Floats
    values: Floats

    def slope(self, *, last: float = 1.0) -> tuple[float, float]:
        """Theil and Sen's slope per second over the last share of the series, and the low end of its 95% interval."""
        first = round(len(self.values) * (1 - last))
        found = theilslopes(self.values[first:], self.at_s[first:], LEVEL)
        return float(found.slope), float(found.low_slope)

    def is_rising(self) -> bool:
        """Whether its slope is above 0 with confidence, over the whole and over the second half."""
        return self.slope()[1] > 0 and self.slope(last=0.5)[1] > 0


@dataclass(frozen=True, slots=True)
class Growth:
    """A point's queue through its steady window.

    `latency` holds the latencies of requests by when they *ended*, up to the last arrival: what a queue gives away
    once arrivals stop, when it is drained faster, belongs to no load. `behind` is how many more requests were sent
    than ended in each slice.
    """

    in_flight: Series
    latency: Series
    behind: Floats
    due: int

    @property
    def gained(self) -> float:
        """Requests gained in flight over the window, by the slope."""
        return self.in_flight.slope()[0] * float(np.ptp(self.in_flight.at_s))

    def lasts_to_the_end(self) -> bool:
        """Whether in-flight and latency both rise, over the whole and over the second half, by more than chance does.

        Slopes of a random walk look significant far too often, since neighbouring values of a queue are not independent
        as the slope's interval takes them to be; what is sent less what ends in each slice nearly is. So that must be
        above 0 on average as well (Student's t), and what is gained must matter.
        """
        return (
            self.gained > max(GROWN_LEAST, GROWN_SHARE * self.due)
            and self._falls_behind()
            and self.in_flight.is_rising()
            and self.latency.is_rising()
        )

    def _falls_behind(self) -> bool:
        n = len(self.behind)
        error = float(np.std(self.behind, ddof=1)) / np.sqrt(n)
        return bool(np.mean(self.behind) > t.ppf(0.5 + LEVEL / 2, n - 1) * error)


def growth(columns: Columns, window: Window) -> Growth | None:
    """The queue of a point; None where too few requests ended within the window to judge."""
    waited = (columns.is_ok | columns.is_slow) & window.holds(columns.done_s)
    if np.count_nonzero(waited) < FEWEST_TO_JUDGE:
        return None
    slices = SLICES if np.count_nonzero(waited) >= MANY else FEW_SLICES
    edges = np.linspace(window.start_s, window.end_s, slices + 1)
    starts, ends = columns.starts_s, columns.ends_s
    order = np.argsort(columns.done_s[waited], kind="stable")
    done, latency = columns.done_s[waited][order], columns.latency_s[waited][order]
    parts = np.array_split(np.arange(len(done)), slices)
    return Growth(
        in_flight=Series((edges[1:] + edges[:-1]) / 2, mean_in_flight(starts, ends, edges)),
        latency=Series(
            np.array([np.mean(done[part]) for part in parts]), np.array([np.median(latency[part]) for part in parts])
        ),
        behind=np.diff(in_flight_at(starts, ends, edges)).astype(np.float64),
        due=int(np.count_nonzero(window.holds(columns.due_s))),
    )
