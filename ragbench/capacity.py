"""Which rate to probe next, and when the capacity is known. Pure: told results, it names rates; it sends nothing.

From the start the rate doubles until a probe fails, or halves until one passes; then the bracket between the highest
rate that passed and the lowest that failed is halved (geometrically) until it is narrow enough.

A probe is several seeds, and most of them decide: at the edge of capacity the outcome of one short run is a matter of
chance, and a bracket whose both ends must be unanimous is wider than the truth calls for. So `resolved` asks for a
narrow bracket with a majority at both ends, and `reason` says where seeds disagreed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

MOST_HALVINGS = 10
SIGNIFICANT = 4  # digits of a probed rate, so that folders have names a person can read


@dataclass(frozen=True, slots=True)
class Vote:
    """What one seed says of a rate. `reason`: why it failed. `is_service`: whether the service, not the load, did."""

    passed: bool
    reason: str = ""
    is_service: bool = True


@dataclass(frozen=True, slots=True)
class Probe:
    """One rate with the votes of its seeds so far, of `seeds` in all."""

    rate_rps: float
    seeds: int
    votes: tuple[Vote, ...] = ()

    @property
    def for_it(self) -> int:
        """How many seeds passed."""
        return sum(vote.passed for vote in self.votes)

    @property
    def is_decided(self) -> bool:
        """Whether the seeds still to come can change nothing."""
        needed = self.seeds // 2 + 1
        return self.for_it >= needed or len(self.votes) - self.for_it > self.seeds - needed

    @property
    def passed(self) -> bool:
        """Whether most seeds passed."""
        return self.for_it > self.seeds // 2

    @property
    def agrees(self) -> bool:
        """Whether all seeds that were asked said the same."""
        return self.for_it in (0, len(self.votes))

    @property
    def is_service(self) -> bool:
        """Whether a failure was the service's: as most of the seeds that failed say."""
        failed = [vote.is_service for vote in self.votes if not vote.passed]
        return sum(failed) * 2 >= len(failed)

    @property
    def reason(self) -> str:
        """Why it failed, by the first seed that did."""
        return next((vote.reason for vote in self.votes if not vote.passed), "")

    def with_vote(self, vote: Vote) -> "Probe":
        """The probe one seed later."""
        return replace(self, votes=(*self.votes, vote))

    def __str__(self) -> str:
        told = f"{self.for_it} of {len(self.votes)} seeds passed"
        return f"{self.rate_rps:g}/s: {told}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Found:
    """How a search ended: the bracket, and whether it is narrow and sure enough. Absent ends were not found."""

    low_rps: float | None
    high_rps: float | None
    resolved: bool
    reason: str

    @property
    def capacity_rps(self) -> float | None:
        """The highest rate at which the promise was seen to be kept."""
        return self.low_rps


@dataclass(frozen=True, slots=True)
class Search:
    """Where a search stands. `probes`: decided ones by rate."""

    start_rps: float
    tolerance: float = 0.05
    most_probes: int = 16
    probes: Mapping[float, Probe] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("start", self.start_rps), ("tolerance", self.tolerance)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be > 0, got {value:g}")
        if self.most_probes < 1:
            raise ValueError(f"most_probes must be >= 1, got {self.most_probes}")

    @property
    def low(self) -> Probe | None:
        """The highest rate that passed below every one that failed."""
        high = self.high
        passed = [p for p in self.probes.values() if p.passed and (high is None or p.rate_rps < high.rate_rps)]
        return max(passed, key=lambda probe: probe.rate_rps, default=None)

    @property
    def high(self) -> Probe | None:
        """The lowest rate that failed."""
        failed = [probe for probe in self.probes.values() if not probe.passed]
        return min(failed, key=lambda probe: probe.rate_rps, default=None)

    @property
    def is_narrow(self) -> bool:
        """Whether the bracket is within the tolerance."""
        low, high = self.low, self.high
        return low is not None and high is not None and high.rate_rps / low.rate_rps - 1 <= self.tolerance

    @property
    def next_rps(self) -> float | None:
        """The rate to probe next; None when the search is over."""
        low, high = self.low, self.high
        if self.is_narrow or len(self.probes) >= self.most_probes:
            return None
        if low is None and high is None:
            rate = self.start_rps
        elif high is None:
            rate = 2 * low.rate_rps if low else self.start_rps
        elif low is None:
            rate = high.rate_rps / 2
            if rate < 0.99 * self.start_rps / 2**MOST_HALVINGS:  # rates are rounded
                return None
        else:
            rate = math.sqrt(low.rate_rps * high.rate_rps)
        rate = readable(rate)
        return None if rate in self.probes else rate

    def told(self, probe: Probe) -> "Search":
        """The search one decided probe later."""
        assert probe.is_decided, f"the seeds at {probe.rate_rps:g}/s have not decided"
        return replace(self, probes={**self.probes, probe.rate_rps: probe})

    def found(self) -> Found:
        """The bracket so far, and whether it resolves the capacity."""
        low, high = self.low, self.high
        ends = (low.rate_rps if low else None, high.rate_rps if high else None)
        if low is None:
            lowest = min(self.probes, default=self.start_rps)
            return Found(*ends, False, f"no rate passed, down to {lowest:g}/s" + (f" ({high.reason})" if high else ""))
        if high is None:
            return Found(*ends, False, f"no rate failed, up to {low.rate_rps:g}/s after {len(self.probes)} probes")
        if not high.is_service:
            return Found(*ends, False, f"at {high.rate_rps:g}/s the load failed, not the service: {high.reason}")
        width = high.rate_rps / low.rate_rps - 1
        if not self.is_narrow:
            return Found(*ends, False, f"{len(self.probes)} probes left a bracket {width:.1%} wide")
        split = [str(probe) for probe in (low, high) if not probe.agrees]
        reason = f"bracket {width:.1%} wide; at {high.rate_rps:g}/s {high.reason}"
        return Found(*ends, True, reason + (f"; seeds disagreed: {'; '.join(split)}" if split else ""))


def readable(rate_rps: float) -> float:
    """The rate with as many digits as a folder's name should have."""
    return float(f"{rate_rps:.{SIGNIFICANT}g}")
