"""Which replica gets a request. A pure function of a snapshot of replica loads; opens no connection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Load:
    """One replica that may be routed to.

    `outstanding` requests were sent, by us or by others, and not answered; `rate_rps` is how fast it was measured to
    answer, None before the first measurement. `share` is less than 1 for one that has just come back and should be
    given less than its load says (slow start).
    """

    name: str
    outstanding: int
    rate_rps: float | None = None
    share: float = 1.0

    @property
    def filled(self) -> float:
        """How full it would be with one more request, by its share."""
        return (self.outstanding + 1) / self.share


RoutingPolicy = Callable[[Sequence[Load], int, Random], int]
"""(loads, turn, rng) -> index into loads. `turn` counts the requests routed so far. `loads` is never empty."""


def round_robin(loads: Sequence[Load], turn: int, rng: Random) -> int:
    """Each replica in its turn, whatever its load or share."""
    return turn % len(loads)


def least_outstanding(loads: Sequence[Load], turn: int, rng: Random) -> int:
    """The replica with the fewest unanswered requests; ties go round, so that none is favoured."""
    return _first_minimum([load.filled for load in loads], turn)


def power_of_two(loads: Sequence[Load], turn: int, rng: Random) -> int:
    """The better of two replicas drawn at random (Mitzenmacher 2001): nearly as good, and needs no full view."""
    if len(loads) == 1:
        return 0
    first, second = rng.sample(range(len(loads)), 2)
    return min(first, second, key=lambda index: (loads[index].filled, index))


def least_work(loads: Sequence[Load], turn: int, rng: Random) -> int:
    """The replica which would finish this request first: outstanding work over its measured rate.

    A replica without a measurement is taken to be as fast as the fastest measured one while it has nothing to do, so
    that it is tried, and as slow as the slowest one until it has answered.
    """
    rates = [load.rate_rps for load in loads if load.rate_rps] or [1.0]
    guesses = (max(rates), min(rates))
    return _first_minimum([load.filled / (load.rate_rps or guesses[load.outstanding > 0]) for load in loads], turn)


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
