"""Whether a queue grew to the end of a point. Pure: the times of its requests in, slopes out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import t, theilslopes

from ragbench.statistics.columns import Columns, Floats, Window
from ragbench.statistics.in_flight import in_flight_at, mean_in_flight

FEWEST_TO_JUDGE = 40  # requests ended within the window
SLICES, FEW_SLICES, MANY = 20, 10, 80  # few slices for fewer than MANY requests
LEVEL = 0.95
GROWN_SHARE = 0.02  # of the requests due in the window, gained in flight over it
GROWN_LEAST = 4.0
LATENCY_QUANTILES = (0.5, 0.9, 0.99)  # where a slow replica of many hides from the lower ones
BEHIND = 0.995  # of chance, for what is sent less what ends; by 0.975, 1% of queues at 95% load were called growing
SURE = 0.999  # of chance, for what falls short by the count alone
_EARLY = 0.25  # quantile of the latencies, by which an answer of a pipeline that still fills is no debt


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

    `latencies` holds the quantiles of the latencies of requests by when they *ended*, up to the last arrival: what a
    queue gives away once arrivals stop, when it is drained faster, belongs to no load. `behind` is how many more
    requests were sent than ended in each slice.
    """

    in_flight: Series
    latencies: Mapping[float, Series]
    behind: Floats
    due: int

    @property
    def gained(self) -> float:
        """Requests gained in flight over the window, by the slope."""
        return self.in_flight.slope()[0] * float(np.ptp(self.in_flight.at_s))

    def lasts_to_the_end(self) -> bool:
        """Whether in-flight and a latency both rise, over the whole and over the second half, by more than chance does.

        Any of LATENCY_QUANTILES will do: behind one slow replica of three the median is that of the other two.

        Slopes of a random walk look significant far too often, since neighbouring values of a queue are not independent
        as the slope's interval takes them to be; what is sent less what ends in each slice nearly is. So that must be
        above 0 on average as well (Student's t), and what is gained must matter.
        """
        return (
            self.gained > max(GROWN_LEAST, GROWN_SHARE * self.due)
            and _is_above_zero(self.behind, BEHIND)
            and self.in_flight.is_rising()
            and self.risen is not None
        )

    @property
    def risen(self) -> float | None:
        """The lowest quantile of latency that rises; None where none does."""
        return next((share for share, series in self.latencies.items() if series.is_rising()), None)

    def __str__(self) -> str:
        queue, share = self.in_flight.values, self.risen or LATENCY_QUANTILES[0]
        latency = self.latencies[share].values
        return (
            f"in-flight grew from {queue[0]:.0f} to {queue[-1]:.0f} "
            f"and latency p{100 * share:g} from {latency[0]:.3g} to {latency[-1]:.3g} s"
        )


@dataclass(frozen=True, slots=True)
class Shortfall:
    """How much fewer requests ended in a window than were due in time to end in it."""

    due: int
    ended: int

    def __str__(self) -> str:
        return f"of {self.due} requests due in the window, only {self.ended} ended in it"


def falls_short(columns: Columns, window: Window) -> Shortfall | None:
    """Whether what ended in the window lies significantly below what was due in it; None where it does not.

    This needs no answer at all, where `growth` needs enough to see latencies rise. Whatever ended counts, refusals as
    well. Due in time is what was sent a usual latency before, the lower quartile of those seen: so answers that take
    long, or a rate that rises, leave no debt. Both halves must fall short, since a queue that fills and then holds is
    steady; and over the slices the debt must be far above chance (Student's t), or one pause would count.
    """
    sent = ~np.isnan(columns.sent_s)
    within = window.holds(columns.done_s) & sent
    due = int(np.count_nonzero(window.holds(columns.due_s)))
    if due < FEWEST_TO_JUDGE:
        return None
    usual_s = float(np.quantile(columns.latency_s[within], _EARLY)) if within.any() else 0.0
    edges = np.linspace(window.start_s, window.end_s, (SLICES if due >= MANY else FEW_SLICES) + 1)
    debt = in_flight_at(columns.due_s[sent] + usual_s, columns.ends_s, edges)
    owed = np.diff(debt).astype(np.float64)
    halves = (owed[: len(owed) // 2], owed[len(owed) // 2 :])
    limit = max(GROWN_LEAST, GROWN_SHARE * due)
    if np.sum(owed) <= limit or any(np.sum(half) <= limit / 2 for half in halves):
        return None
    if not all(_is_above_zero(part, SURE) for part in (owed, halves[1])):
        return None
    return Shortfall(due, int(np.count_nonzero(within)))


def _is_above_zero(values: Floats, confidence: float) -> bool:
    """Whether the mean is above 0, by Student's t."""
    n = len(values)
    error = float(np.std(values, ddof=1)) / np.sqrt(n)
    return bool(np.mean(values) > t.ppf(confidence, n - 1) * error)


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
    ended_s = np.array([np.mean(done[part]) for part in parts])
    quantiles = np.transpose([np.quantile(latency[part], LATENCY_QUANTILES) for part in parts])
    return Growth(
        in_flight=Series((edges[1:] + edges[:-1]) / 2, mean_in_flight(starts, ends, edges)),
        latencies={share: Series(ended_s, values) for share, values in zip(LATENCY_QUANTILES, quantiles, strict=True)},
        behind=np.diff(in_flight_at(starts, ends, edges)).astype(np.float64),
        due=int(np.count_nonzero(window.holds(columns.due_s))),
    )
