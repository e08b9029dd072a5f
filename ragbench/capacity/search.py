"""Which rate to load next, and when the capacity is known. Pure: loads in, rates out; it sends nothing.

From the start the rate doubles until a load breaks the SLO, or halves until one keeps it. Then the bracket between the
highest rate kept and the lowest broken is halved (geometrically). Near the edge that is not enough: of two loads at one
rate, one keeps the SLO and one does not. So loads continue on both sides of the edge, whose place and interval are
fitted over all loads near it. The bracket is never narrower than that interval; once it is narrow enough, the search
ends.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ragbench.capacity.fit import Edge, fit
from ragbench.capacity.load import Load

MOST_HALVINGS = 10
SIGNIFICANT = 4  # digits of a rate, so that folders have names a person can read
BISECTED = 0.25  # of the tolerance: the width at which the bracket is halved no more
FEWEST_NEAR = 15  # loads near the edge that an interval needs
FEWEST_CLEAR = 6  # where they hardly disagree: the interval is below CLEAR of the tolerance
CLEAR = 0.1
NEAR = 0.12  # of the edge: loads further off are not fitted
_FURTHEST_STEP = 0.08


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search: the capacity, its bracket, and whether that is narrow and certain enough."""

    capacity_rps: float | None
    low_rps: float | None
    high_rps: float | None
    resolved: bool
    reason: str


@dataclass(frozen=True)
class Search:
    """Where a search stands. `bias`: the share by which loads of this length may place the capacity too high."""

    start_rps: float
    tolerance: float = 0.1
    most_loads: int = 30
    bias: float = 0.0
    loads: tuple[Load, ...] = ()

    @cached_property
    def kept_rps(self) -> float | None:
        """The highest rate at which a load kept the SLO."""
        return max((load.rate_rps for load in self.loads if load.kept), default=None)

    @cached_property
    def broken_rps(self) -> float | None:
        """The lowest rate at which the service broke the SLO; else that at which the load itself failed."""
        broken = [load for load in self.loads if not load.kept]
        telling = [load for load in broken if load.is_service] or broken
        return min((load.rate_rps for load in telling), default=None)

    @cached_property
    def bracket(self) -> tuple[float, float] | None:
        """Where the capacity lies: from kept to broken, and no narrower than the fit's interval."""
        kept, broken = self.kept_rps, self.broken_rps
        if kept is None or broken is None:
            return None
        ends = [kept, broken] if kept < broken or self.edge is None else []
        if self.edge is not None:
            ends += [self.edge.low_rps, self.edge.high_rps]
        return min(ends) * (1 - self.bias), max(ends)

    @cached_property
    def edge(self) -> Edge | None:
        """The edge fitted over the loads near it, in three rounds; None where fewer than 3 are near."""
        if self.kept_rps is None or self.broken_rps is None:
            return None
        edge, at_rps = None, math.sqrt(self.kept_rps * self.broken_rps)
        for _ in range(3):
            near = self._near(at_rps)
            if len(near) < 3:
                break
            edge = fit(*np.array([(load.rate_rps, load.burn_rate, load.requests) for load in near], dtype=np.float64).T)
            at_rps = edge.rate_rps
        return edge

    def _near(self, edge_rps: float) -> list[Load]:
        """The loads within NEAR of the edge that did not fail themselves."""
        return [load for load in self.loads if load.is_service and abs(load.rate_rps / edge_rps - 1) <= NEAR]

    @property
    def is_narrow(self) -> bool:
        """Whether the bracket is within the tolerance, by enough loads."""
        bracket, edge = self.bracket, self.edge
        if bracket is None or edge is None or bracket[1] / bracket[0] - 1 > self.tolerance:
            return False
        is_clear = edge.high_rps / edge.low_rps - 1 <= CLEAR * self.tolerance
        return len(self._near(edge.rate_rps)) >= (FEWEST_CLEAR if is_clear else FEWEST_NEAR)

    @property
    def next_rps(self) -> float | None:
        """The rate of the next load; None when the search is over."""
        kept, broken = self.kept_rps, self.broken_rps
        if len(self.loads) >= self.most_loads or self.is_narrow or self._is_hopeless():
            return None
        if kept is None:
            return readable(self.start_rps if broken is None else broken / 2)
        if broken is None:
            return readable(2 * kept)
        if broken / kept - 1 > BISECTED * self.tolerance:
            between = readable(math.sqrt(kept * broken))
            if kept < between < broken:
                return between
        return readable(self._beside_the_edge())

    def after(self, load: Load) -> "Search":
        """The search one load later."""
        return replace(self, loads=(*self.loads, load))

    def found(self) -> Found:
        """The result so far."""
        kept, broken = self.kept_rps, self.broken_rps
        if kept is None:
            lowest = min((load.rate_rps for load in self.loads), default=self.start_rps)
            why = f" ({self._why(broken)})" if broken else ""
            return Found(None, None, broken, False, f"no rate kept the SLO, down to {lowest:g}/s{why}")
        if broken is None:
            return Found(kept, kept, None, False, f"no rate broke the SLO, up to {kept:g}/s after {self._counted()}")
        assert self.bracket is not None
        low, high = self.bracket
        if self._is_not_the_service():
            return Found(
                kept, low, high, False, f"at {broken:g}/s the load failed, not the service: {self._why(broken)}"
            )
        capacity_rps = self.edge.rate_rps if self.edge else math.sqrt(low * high)
        if kept < broken:
            capacity_rps = min(max(capacity_rps, kept), broken)
        width = f"bracket {high / low - 1:.1%} wide after {self._counted()}"
        if not self.is_narrow:
            return Found(capacity_rps, low, high, False, f"{width}: wider than {self.tolerance:.0%}, or too few to say")
        return Found(capacity_rps, low, high, True, f"{width}; at {broken:g}/s {self._why(broken)}")

    def _counted(self) -> str:
        return f"{len(self.loads)} load{'' if len(self.loads) == 1 else 's'}"

    def _why(self, rate_rps: float) -> str:
        return next(load.reason for load in self.loads if load.rate_rps == rate_rps and not load.kept)

    def _is_hopeless(self) -> bool:
        """Whether more loads are useless: halved often enough, or the load itself fails."""
        kept, broken = self.kept_rps, self.broken_rps
        if broken is None:
            return False
        if kept is None:
            return broken / 2 < 0.99 * self.start_rps / 2**MOST_HALVINGS  # rates are rounded
        return self._is_not_the_service() and broken / kept - 1 <= self.tolerance

    def _is_not_the_service(self) -> bool:
        """Whether whatever broke the SLO was a late client or another program."""
        return all(load.kept or not load.is_service for load in self.loads)

    def _beside_the_edge(self) -> float:
        """A little below the edge and above it in turns, which fits both its place and the slope."""
        edge = self.edge
        at_rps = edge.rate_rps if edge else math.sqrt((self.kept_rps or 0.0) * (self.broken_rps or 0.0))
        step = min(_FURTHEST_STEP, max(self.tolerance / 4, 0.05 / edge.slope)) if edge else self.tolerance / 2
        return at_rps * (1 + step * (1 if len(self.loads) % 2 else -1))


def readable(rate_rps: float) -> float:
    """The rate rounded to SIGNIFICANT digits."""
    return float(f"{rate_rps:.{SIGNIFICANT}g}")


def load_line(name: str, search: Search) -> str:
    """One line: the last load of the configuration `name`, and the bracket and next rate after it."""
    ends = search.bracket or (search.kept_rps, search.broken_rps)
    low, high = (f"{end:.4g}" if end else "?" for end in ends)
    after = f"next {search.next_rps:g}/s" if search.next_rps else "done"
    return f"{name} at {search.loads[-1]}; between {low} and {high}/s; {after}"
