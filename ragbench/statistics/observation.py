"""What is known of one point, as its figures need it: arrays, the window, who was answered. Computes no figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ragbench.results.metrics import Source, Verdict
from ragbench.results.records import ReplicaCount, Sample, Scaling
from ragbench.results.slo import Slo
from ragbench.statistics.columns import Columns, Floats, Truths, Window
from ragbench.statistics.intervals import Interval, bootstrap
from ragbench.statistics.latency_intervals import latency_intervals

_MOST_SLICES = 500  # of the window, in which ended requests are counted
_SEED = 20_040_417  # of the resamples: the same rows give the same intervals


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One point, judged. `duration_s`: how long its load stands for; `gap_s`: between its requests, where none is seen.

    `has_means`: whether a mean over the answered says anything of the service.
    """

    columns: Columns
    window: Window
    duration_s: float
    gap_s: float
    source: Source
    verdict: Verdict
    verdict_reason: str
    has_means: bool
    slo: Slo | None
    replicas: Sequence[ReplicaCount]
    scaling: Scaling
    step_up_s: float | None
    telemetry: Sequence[Sample]

    def count(self, *statuses: str) -> int:
        """How many requests ended so."""
        return sum(self.columns.statuses[status] for status in statuses)

    @property
    def is_empty(self) -> bool:
        """Whether no request was scheduled."""
        return not len(self.columns)

    @cached_property
    def within(self) -> Truths:
        """Which requests were due in the window."""
        return self.window.holds(self.columns.due_s)

    @cached_property
    def ended(self) -> Truths:
        """Which got an ok answer in the window."""
        return self.columns.is_ok & self.window.holds(self.columns.done_s)

    @cached_property
    def in_time(self) -> Truths:
        """Which got an ok answer within the SLO's limit for a request."""
        return self.columns.is_ok & (self.columns.latency_s <= (self.slo.limit_s if self.slo else np.inf))

    @cached_property
    def from_due_s(self) -> Floats:
        """Latencies of the requests due in the window, infinite for one without an ok answer."""
        return self._with_unanswered(self.columns.latency_s)

    @cached_property
    def from_sent_s(self) -> Floats:
        """The same from when each was sent."""
        return self._with_unanswered(self.columns.from_sent_s)

    @property
    def is_answered(self) -> Truths:
        """Of the requests due in the window, which got an ok answer."""
        return np.isfinite(self.from_due_s)

    def answered(self, column: str) -> Floats:
        """A column of requests.csv, of the ok answers due in the window."""
        return self.columns.column(column)[self.within & self.columns.is_ok]

    @cached_property
    def throughput_interval(self) -> Interval | None:
        """Of the number that ended per second, from the numbers in equal slices of the window."""
        ends_s = self.columns.done_s[self.ended]
        slices = min(_MOST_SLICES, len(ends_s))
        if not slices:
            return None
        counts, _ = np.histogram(ends_s, bins=slices, range=(self.window.start_s, self.window.end_s))
        rates = counts * (slices / self.window.length_s)
        found = bootstrap(rates.astype(np.float64), lambda drawn: drawn.mean(axis=1), rng=np.random.default_rng(_SEED))
        return Interval(max(0.0, found.low), found.high) if found else None

    @cached_property
    def latency_intervals(self) -> Mapping[str, Interval | None]:
        """By figure, from due; that of the mean only where means say anything."""
        found = latency_intervals(self.from_due_s)
        return found if self.has_means else found | {"mean": None}

    def _with_unanswered(self, values_s: Floats) -> Floats:
        return np.where(self.columns.is_ok, values_s, np.inf)[self.within]
