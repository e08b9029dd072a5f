"""How long a batch takes and what the network adds, drawn from the batches of a measured design.

A batch is drawn from the fifty measured ones whose Moment was nearest: about as large, beside as many computing
replicas, after as long a rest, with as many requests in the service. Then it is scaled along fitted planes. So the
noise is the measured noise, and sizes and loads between the measured ones follow the planes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log, log1p, log2
from random import Random

import numpy as np
from scipy.optimize import nnls

from ragbench.simulator.batches import IN_SHARE, Batch, FitError, Moment
from ragbench.statistics.columns import Floats

__all__ = ["Drawn", "FitError", "ServiceTimes"]

_LIKEST = 50
_FEWEST = 5
_IDLE_WEIGHT = 0.3
_CROWD_WEIGHT = 0.3
_SHORTEST_IDLE_S, _LONGEST_IDLE_S = 0.001, 0.1
_STEPS = 4  # to twice as much
_ALONE = Moment(1, 0, _LONGEST_IDLE_S, 0)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A simulated batch, in seconds.

    Its stages with no other replica at work, the delay before it starts if the pipeline has rested, and the time after
    it until the next may start.
    """

    stages_s: tuple[float, ...]
    dispatch_s: float
    turnaround_s: float


class ServiceTimes:
    """Draws batches. `a_s` + `b_s` n is the mean length of a batch of n with no other replica at work."""

    def __init__(
        self, batches: Sequence[Batch], *, around: Sequence[Batch] | None = None, cold_start_s: float = 4.0
    ) -> None:
        """`around`: the batches to take network and hand-over times from; `batches` themselves unless given."""
        around = batches if around is None else around
        if (fewest := min(len(batches), len(around))) < _FEWEST:
            raise FitError(f"{fewest} batches are too few to fit service times to; wanted {_FEWEST} or more")
        self.cold_start_s = cold_start_s
        self.batches = len(batches)
        self.a_s, self.b_s, self._c_s = _plane(batches)
        self._network = _network_plane(around)
        self._most_beside = max((batch.beside for batch in batches), default=0.0)
        self._stages = _Likest(
            [self._by_the_plane(batch) for batch in batches],
            [replace(batch.start, others=batch.beside) for batch in batches],
        )
        networks = [
            replace(batch, networks_s=tuple(each / self._network(batch.end) for each in batch.networks_s))
            for batch in around
            if batch.networks_s
        ]
        self._networks = _Likest(networks, [batch.end for batch in networks])
        turns = [batch for batch in around if batch.turn_s is not None]
        self._turns = _Likest(turns, [batch.end for batch in turns])
        self._dispatches_s = [batch.dispatch_s for batch in around if batch.dispatch_s is not None] or [0.0]
        alone = [network_s for batch in self._networks.like(_ALONE) for network_s in batch.networks_s]
        self.way_in_s = IN_SHARE * self._network(_ALONE) * float(np.median(alone)) if alone else 0.0

    def draw(self, start: Moment, rng: Random) -> Drawn:
        """A batch that starts so."""
        batch = rng.choice(self._stages.like(start))
        mean_s = self.mean_s(start.size)
        turns = self._turns.like(start)
        return Drawn(
            tuple(share * mean_s for share in batch.stages_s),
            rng.choice(self._dispatches_s) if start.idle_s > 0 else 0.0,
            (rng.choice(turns).turn_s or 0.0) if turns else 0.0,
        )

    def networks_s(self, end: Moment, rng: Random) -> Sequence[float]:
        """What the network adds to each request of a batch that ends so."""
        alike = self._networks.like(end)
        if not alike:
            return [0.0] * end.size
        mean_s, shares = self._network(end), rng.choice(alike).networks_s
        drawn = shares if len(shares) == end.size else rng.choices(shares, k=end.size)
        return [share * mean_s for share in drawn]

    def mean_s(self, size: int, *, others: float = 0.0) -> float:
        """T(size) on the plane, while `others` replicas compute."""
        return self.a_s + (self.b_s + self._c_s * others) * size

    def _by_the_plane(self, batch: Batch) -> Batch:
        """Its stages divided by the plane's length of such a batch."""
        mean_s = self.mean_s(batch.size, others=batch.beside)
        return replace(batch, stages_s=tuple(stage / mean_s for stage in batch.stages_s))

    def slowdown(self, size: int, others: int) -> float:
        """How much longer a batch takes while `others` compute; beyond the most that was measured it grows no more."""
        return self.mean_s(size, others=min(float(others), self._most_beside)) / self.mean_s(size)

    def speed(self, batches: Sequence[Batch]) -> float:
        """How long these took, relative to the plane: 1.1 where the machine was a tenth slower than in the fit."""
        wanted = sum(self.mean_s(batch.size, others=batch.beside) for batch in batches)
        return sum(batch.length_s for batch in batches) / wanted if wanted else 1.0


class _Likest:
    """Measured batches, looked up by the likeness of the moments that they `met` to another."""

    def __init__(self, measured: Sequence[Batch], met: Sequence[Moment]) -> None:
        self._measured = measured
        places = [_coordinates(each.size, each.others, each.idle_s, each.crowd) for each in met]
        self._places = np.array(places).reshape(-1, 4)
        self._most_others = int(np.ceil(self._places[:, 1].max(initial=0.0)))
        self._found: dict[tuple[int, ...], list[Batch]] = {}

    def like(self, met: Moment) -> list[Batch]:
        """The fifty nearest, with every other batch that is as near as the last of these."""
        idle_s = min(met.idle_s, _LONGEST_IDLE_S)
        key = (met.size, min(int(met.others), self._most_others), _step(idle_s / _SHORTEST_IDLE_S), _step(met.crowd))
        if key not in self._found:
            self._found[key] = [self._measured[place] for place in self._nearest(*key)]
        return self._found[key]

    def _nearest(self, size: int, others: int, idle: int, crowd: int) -> list[int]:
        if len(self._measured) <= _LIKEST:
            return list(range(len(self._measured)))
        wanted = _coordinates(size, others, _value(idle) * _SHORTEST_IDLE_S, _value(crowd))
        apart = np.abs(self._places - np.array(wanted)).sum(axis=1)
        return np.flatnonzero(apart <= np.partition(apart, _LIKEST - 1)[_LIKEST - 1]).tolist()


def _coordinates(size: int, others: float, idle_s: float, crowd: float) -> tuple[float, ...]:
    """Of a moment; how unlike two moments are is the sum of the distances along each coordinate."""
    idle_s = min(max(idle_s, _SHORTEST_IDLE_S), _LONGEST_IDLE_S)
    return log(size), others, _IDLE_WEIGHT * log(idle_s / _SHORTEST_IDLE_S), _CROWD_WEIGHT * log1p(crowd)


def _step(value: float) -> int:
    """The nearest of a few steps from 0 up, each some 20% above the last, so that few moments have to be looked up."""
    return round(_STEPS * log2(1 + value))


def _value(step: int) -> float:
    return float(2 ** (step / _STEPS)) - 1


def _plane(batches: Sequence[Batch]) -> tuple[float, float, float]:
    """a, b, c >= 0 of a + b n + c beside n, by least squares; a is 0 where all sizes are one."""
    sizes = np.array([batch.size for batch in batches], dtype=np.float64)
    lengths_s: Floats = np.array([batch.length_s for batch in batches])
    columns = np.column_stack([np.ones_like(sizes), sizes, sizes * [batch.beside for batch in batches]])
    if len(np.unique(sizes)) < 2:
        columns[:, 0] = 0.0
    a, b, c = nnls(columns, lengths_s)[0].tolist()
    return a, b, c


def _network_plane(batches: Sequence[Batch]) -> Callable[[Moment], float]:
    """The mean network time by the moment a batch ended: least squares, no coefficient below 0."""
    known = [batch for batch in batches if batch.networks_s]
    if not known:
        return lambda met: 1.0
    ends = [batch.end for batch in known]
    columns = np.array([(1.0, end.size - 1.0, float(end.others), log1p(end.crowd)) for end in ends])
    least, size, others, crowd = nnls(columns, np.array([np.mean(batch.networks_s) for batch in known]))[0].tolist()
    return lambda end: (least + size * (end.size - 1) + others * end.others + crowd * log1p(end.crowd)) or 1.0
