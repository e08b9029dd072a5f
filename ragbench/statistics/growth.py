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
        fit = theilslopes(self.values[first:], self.at_s[first:], LEVEL)
        return float(fit.slope), float(fit.low_slope)

    def is_rising(self) -> bool:
        """Whether its slope is above 0 with confidence, over the whole and over the second half."""
        return self.slope()[1] > 0 and self.slope(last=0.5)[1] > 0


@dataclass(frozen=True, slots=True)
class Growth:
    """A point's queue through its steady window.

    `latencies`: quantiles of latency by when requests *ended*, up to the last arrival, since the faster drain after it
    belongs to no load. `behind`: how many more requests were sent than ended in each slice.
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
        """Whether requests in flight and a quantile of latency both rise, over the whole and over the second half.

        Any of LATENCY_QUANTILES will do: with one slow replica of three, the median is that of the other two. Slopes of
        a random walk look significant too often, because neighbouring values of a queue are not independent. What is
        sent less what ends in each slice nearly is: its mean must be above 0 (Student's t). And the gain must matter.
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


def falls_short(columns: Columns, window: Window) -> str | None:
    """Why what ended in the window lies significantly below what was due in it; None where it does not.

    This needs no answer at all, where `growth` needs enough to see latencies rise. Whatever ended counts, refusals as
    well. A request is due in time if it was sent a usual latency earlier, which is the lower quartile of those seen: so
    answers that take long, or a rate that rises, leave no debt. Both halves must fall short, since a queue that fills
    and then holds is steady; and over the slices the debt must be far above chance (Student's t), or one pause would
    count.
    """
    is_sent = ~np.isnan(columns.sent_s)
    has_ended = window.holds(columns.done_s) & is_sent
    due = int(np.count_nonzero(window.holds(columns.due_s)))
    if due < FEWEST_TO_JUDGE:
        return None
    usual_s = float(np.quantile(columns.latency_s[has_ended], _EARLY)) if has_ended.any() else 0.0
    edges = _edges(window, due)
    owed = np.diff(in_flight_at(columns.due_s[is_sent] + usual_s, columns.ends_s, edges)).astype(np.float64)
    first, second = owed[: len(owed) // 2], owed[len(owed) // 2 :]
    limit = max(GROWN_LEAST, GROWN_SHARE * due)
    is_owed = np.sum(owed) > limit and min(np.sum(first), np.sum(second)) > limit / 2
    if not is_owed or not all(_is_above_zero(part, SURE) for part in (owed, second)):
        return None
    return f"of {due} requests due in the window, only {np.count_nonzero(has_ended)} ended in it"


def _edges(window: Window, requests: int) -> Floats:
    """The edges of the slices in which `requests` are counted."""
    return np.linspace(window.start_s, window.end_s, (SLICES if requests >= MANY else FEW_SLICES) + 1)


def _is_above_zero(values: Floats, confidence: float) -> bool:
    """Whether the mean is above 0, by Student's t."""
    n = len(values)
    return bool(np.mean(values) > t.ppf(confidence, n - 1) * float(np.std(values, ddof=1)) / np.sqrt(n))


def growth(columns: Columns, window: Window) -> Growth | None:
    """The queue of a point; None where too few requests ended within the window to judge."""
    waited = (columns.is_ok | columns.is_timeout) & window.holds(columns.done_s)
    ended = int(np.count_nonzero(waited))
    if ended < FEWEST_TO_JUDGE:
        return None
    edges = _edges(window, ended)
    starts, ends = columns.starts_s, columns.ends_s
    order = np.argsort(columns.done_s[waited], kind="stable")
    done, latency = (
        np.array_split(times[waited][order], len(edges) - 1) for times in (columns.done_s, columns.latency_s)
    )
    ended_s = np.array([np.mean(part) for part in done])
    quantiles = np.transpose([np.quantile(part, LATENCY_QUANTILES) for part in latency])
    return Growth(
        in_flight=Series((edges[1:] + edges[:-1]) / 2, mean_in_flight(starts, ends, edges)),
        latencies={share: Series(ended_s, values) for share, values in zip(LATENCY_QUANTILES, quantiles, strict=True)},
        behind=np.diff(in_flight_at(starts, ends, edges)).astype(np.float64),
        due=int(np.count_nonzero(window.holds(columns.due_s))),
    )
