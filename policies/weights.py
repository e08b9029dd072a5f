"""Weights of replicas, for a proxy that picks by requests per weight. Sets none and reads no clock.

Such a proxy (HAProxy's `leastconn`) sees what is outstanding, and no rates. With weights in proportion to the rates it
picks as `least_work` does.
"""

from collections.abc import Callable, Sequence

from policies import routing
from policies.routing import Load

MOST = 256
_NOTICEABLE = 0.1  # of a weight; reports of a rate differ by as much from one second to the next

Weigh = Callable[[Sequence[Load]], list[int]]
"""loads -> the weight of each, from 1 to MOST."""


def by_work(loads: Sequence[Load]) -> list[int]:
    """In proportion to rate and share; the fastest has MOST."""
    return _scaled([load.share * rate_rps for load, rate_rps in zip(loads, routing.rates(loads), strict=True)])


def by_share(loads: Sequence[Load]) -> list[int]:
    """Equal ones, less during a slow start: the proxy decides."""
    return _scaled([load.share for load in loads])


def is_new(weight: int, than: int) -> bool:
    """Whether a weight differs from the one that is set by more than reports do."""
    return abs(weight - than) > _NOTICEABLE * than or (weight == MOST and than < MOST)


def _scaled(values: Sequence[float]) -> list[int]:
    highest = max(values, default=1.0)
    return [max(1, round(MOST * value / highest)) for value in values]


WEIGHTS: dict[str, Weigh] = {name: by_work if name == "least_work" else by_share for name in routing.POLICIES}
