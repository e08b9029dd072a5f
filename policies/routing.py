"""Which replica gets a request. A pure function of a snapshot of replica loads; opens no connection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Load:
    """One replica that may be routed to.

    `outstanding`: requests of all clients that are not answered. `rate_rps`: its measured rate, None before the first
    measurement. `share`: below 1 during the slow start of a replica that has just come back.
    """

    name: str
    outstanding: int
    rate_rps: float | None = None
    share: float = 1.0

    @property
    def filled(self) -> float:
        """Its load with one more request, divided by its share."""
        return (self.outstanding + 1) / self.share


RoutingPolicy = Callable[[Sequence[Load], int, Random], int]
"""(loads, turn, rng) -> index into loads. `turn` counts the requests routed so far. `loads` is never empty."""


def round_robin(loads: Sequence[Load], turn: int, rng: Random) -> int:
    """Each replica in its turn, whatever its load or share."""
    return turn % len(loads)


def least_outstanding(loads: Sequence[Load], turn: int, rng: Random) -> int:
    """The replica with the fewest unanswered requests; ties are broken in turn."""
    return _first_minimum([load.filled for load in loads], turn)


def power_of_two(loads: Sequence[Load], turn: int, rng: Random) -> int:
    """The better of two replicas drawn at random (Mitzenmacher 2001): nearly as good as the best of all."""
    if len(loads) == 1:
        return 0
    first, second = rng.sample(range(len(loads)), 2)
    return min(first, second, key=lambda index: (loads[index].filled, index))


def least_work(loads: Sequence[Load], turn: int, rng: Random) -> int:
    """The replica that would finish this request first: outstanding requests over measured rate.

    An idle replica without a measurement counts as the fastest one, so that it is tried; with requests, as the slowest.
    """
    return _first_minimum([load.filled / rate_rps for load, rate_rps in zip(loads, rates(loads), strict=True)], turn)


def rates(loads: Sequence[Load]) -> list[float]:
    """Requests per second of each: as measured, or as `least_work` guesses."""
    measured = [load.rate_rps for load in loads if load.rate_rps] or [1.0]
    guesses = (max(measured), min(measured))
    return [load.rate_rps or guesses[load.outstanding > 0] for load in loads]


def _first_minimum(costs: Sequence[float], turn: int) -> int:
    """Index of the lowest cost, the first one from `turn` on."""
    count = len(costs)
    return min(range(count), key=lambda index: (costs[index], (index - turn) % count))


POLICIES: dict[str, RoutingPolicy] = {
    "round_robin": round_robin,
    "least_outstanding": least_outstanding,
    "power_of_two": power_of_two,
    "least_work": least_work,
}
