"""Which replica gets a request. A pure function of a snapshot of replica loads; opens no connection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

__all__ = ["POLICIES", "Load", "RoutingPolicy", "least_outstanding", "least_work", "power_of_two", "round_robin"]


@dataclass(frozen=True, slots=True)
class Load:
    """One replica that may be routed to.

    `outstanding` requests were sent and are not answered; `rate_rps` is how fast it was measured to answer, None
    before the first measurement.
    """

    name: str
    outstanding: int
    rate_rps: float | None = None


RoutingPolicy = Callable[[Sequence[Load], int, Random], int]
"""(loads, turn, rng) -> index into loads. `turn` counts the requests routed so far. `loads` is never empty."""


def round_robin(loads: Sequence[Load], turn: int, rng: Random) -> int:
    """Each replica in its turn, whatever its load."""
    return turn % len(loads)


def least_outstanding(loads: Sequence[Load], turn: int, rng: Random) -> int:
    """The replica with the fewest unanswered requests; ties go round, so that none is favoured."""
    return _first_minimum([load.outstanding for load in loads], turn)


def power_of_two(loads: Sequence[Load], turn: int, rng: Random) -> int:
    """The better of two replicas drawn at random (Mitzenmacher 2001): nearly as good, and needs no full view."""
    if len(loads) == 1:
        return 0
    first, second = rng.sample(range(len(loads)), 2)
    return min(first, second, key=lambda index: (loads[index].outstanding, index))


def least_work(loads: Sequence[Load], turn: int, rng: Random) -> int:
    """The replica which would finish this request first: outstanding work over its measured rate.

    A replica without a measurement is taken to be as fast as the fastest measured one, so that it is tried.
    """
    fastest = max((load.rate_rps for load in loads if load.rate_rps), default=1.0)
    return _first_minimum([(load.outstanding + 1) / (load.rate_rps or fastest) for load in loads], turn)


def _first_minimum(costs: Sequence[float], turn: int) -> int:
    """Index of the lowest cost, looking from `turn` onwards."""
    count = len(costs)
    return min(range(count), key=lambda index: (costs[index], (index - turn) % count))


POLICIES: dict[str, RoutingPolicy] = {
    "round_robin": round_robin,
    "least_outstanding": least_outstanding,
    "power_of_two": power_of_two,
    "least_work": least_work,
}
