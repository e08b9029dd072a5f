"""How long a batch takes and what the network adds, drawn from the batches of a measured design.

A batch is drawn from the fifty measured ones whose Moment was nearest: about as large, beside as many computing
replicas, after as long a rest, with as many requests in the service. Then it is scaled along fitted planes. So the
noise is the measured noise, and sizes and loads between the measured ones follow the planes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress
from math import ceil, log, log1p, log2
from operator import mul
from random import Random
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from scipy.optimize import nnls

from ragbench.statistics.columns import Floats

if TYPE_CHECKING:
    import pandas as pd

STAGES = ("embed_s", "retrieve_s", "generate_s")
IN_SHARE = 0.5  # of the network time, before the queue
_NEAREST = 50
_FEWEST = 5
_IDLE_WEIGHT = 0.3
_CROWD_WEIGHT = 0.3
_SHORTEST_IDLE_S, _LONGEST_IDLE_S = 0.001, 0.1
_STEPS = 4  # to twice as much

_Value = TypeVar("_Value")


class FitError(ValueError):
    """The measured requests do not say how long a batch takes."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The conditions at the start or the end of a batch that its speed depends on, as in batches.py."""

    size: int
    others: float
    idle_s: float
    crowd: float

    @property
    def place(self) -> tuple[float, ...]:
        """How unlike two moments are is the sum of the distances along each coordinate."""
        idle_s = min(max(self.idle_s, _SHORTEST_IDLE_S), _LONGEST_IDLE_S)
        idle, crowd = _IDLE_WEIGHT * log(idle_s / _SHORTEST_IDLE_S), _CROWD_WEIGHT * log1p(self.crowd)
        return log(self.size), self.others, idle, crowd


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
        self, batches: "pd.DataFrame", *, around: "pd.DataFrame | None" = None, cold_start_s: float = 4.0
    ) -> None:
        """`around`: the batches to take network and hand-over times from; `batches` themselves unless given."""
        around = batches if around is None else around
        if (fewest := min(len(batches), len(around))) < _FEWEST:
            raise FitError(f"{fewest} batches are too few to fit service times to; wanted {_FEWEST} or more")
        self.cold_start_s = cold_start_s
        self.batches = len(batches)
        is_varied = float(batches["size"].nunique() > 1)  # of one size alone, a and b are not told apart: a is 0
        sizes = batches["size"].to_numpy()
        self.a_s, self.b_s, self._c_s = _coefficients(batches["length_s"], is_varied, sizes, sizes * batches["beside"])
        self._most_beside = float(batches["beside"].max())
        shares = batches[list(STAGES)].to_numpy() / self._means_s(batches)[:, None]
        self._stages = _Nearest(_moments(batches, "beside", "crowd_at_start"), shares.tolist())

        ends, networks_s = _moments(around, "others_at_end", "crowd_at_end"), around["networks_s"].tolist()
        terms = (1.0, around["size"] - 1, around["others_at_end"], np.log1p(around["crowd_at_end"]))
        self._network = _coefficients(around["networks_s"].map(np.mean), *terms)
        means_s = map(self._network_s, ends)
        ratios = [[each / mean_s for each in of_one] for of_one, mean_s in zip(networks_s, means_s, strict=True)]
        self._networks = _Nearest(ends, ratios)
        alone = list(chain.from_iterable(self._networks.to(_ALONE)))
        self.way_in_s = IN_SHARE * self._network_s(_ALONE) * float(np.median(alone))
        turns = around.dropna(subset="turn_s")
        self._turns_s = _Nearest(_moments(turns, "others_at_end", "crowd_at_end"), turns["turn_s"].tolist())
        self._dispatches_s = around["dispatch_s"].dropna().tolist() or [0.0]

    def draw(self, start: Moment, rng: Random) -> Drawn:
        """A batch that starts so."""
        shares, mean_s = rng.choice(self._stages.to(start)), self.mean_s(start.size)
        turns_s = self._turns_s.to(start)
        return Drawn(
            tuple(share * mean_s for share in shares),
            rng.choice(self._dispatches_s) if start.idle_s > 0 else 0.0,
            rng.choice(turns_s) if turns_s else 0.0,
        )

    def networks_s(self, end: Moment, rng: Random) -> Sequence[float]:
        """What the network adds to each request of a batch that ends so."""
        mean_s, shares = self._network_s(end), rng.choice(self._networks.to(end))
        drawn = shares if len(shares) == end.size else rng.choices(shares, k=end.size)
        return [share * mean_s for share in drawn]

    def mean_s(self, size: int, *, others: float = 0.0) -> float:
        """T(size) on the plane, while `others` replicas compute."""
        return self.a_s + (self.b_s + self._c_s * others) * size

    def slowdown(self, size: int, others: int) -> float:
        """How much longer a batch takes while `others` compute; beyond the most that was measured it grows no more."""
        return self.mean_s(size, others=min(float(others), self._most_beside)) / self.mean_s(size)

    def speed(self, batches: "pd.DataFrame") -> float:
        """How long these took, relative to the plane: 1.1 where the machine was a tenth slower than in the fit."""
        return float(batches["length_s"].sum() / self._means_s(batches).sum()) if len(batches) else 1.0

    def _means_s(self, batches: "pd.DataFrame") -> Floats:
        pairs = zip(batches["size"], batches["beside"], strict=True)
        return np.array([self.mean_s(size, others=beside) for size, beside in pairs])

    def _network_s(self, end: Moment) -> float:
        terms = (1.0, end.size - 1, end.others, log1p(end.crowd))
        return sum(map(mul, self._network, terms)) or 1.0


class _Nearest(Generic[_Value]):
    """A value of each of many moments, looked up by the likeness of the moment to another."""

    def __init__(self, moments: Sequence[Moment], values: Sequence[_Value]) -> None:
        self._values = values
        self._places = np.array([moment.place for moment in moments]).reshape(-1, 4)
        self._most_others = ceil(self._places[:, 1].max(initial=0.0))
        self._looked_up: dict[tuple[int, ...], list[_Value]] = {}

    def to(self, moment: Moment) -> list[_Value]:
        """The fifty nearest, with every other one that is as near as the last of these.

        Rest and crowd are looked up in steps from 0 up, each some 20% above the last, so that few moments are.
        """
        idle_s = min(moment.idle_s, _LONGEST_IDLE_S)
        steps = [round(_STEPS * log2(1 + value)) for value in (idle_s / _SHORTEST_IDLE_S, moment.crowd)]
        key = (moment.size, min(int(moment.others), self._most_others), *steps)
        if key not in self._looked_up:
            idle, crowd = (2 ** (step / _STEPS) - 1 for step in steps)
            place = Moment(key[0], key[1], idle * _SHORTEST_IDLE_S, crowd).place
            apart = np.abs(self._places - place).sum(axis=1)
            limit = np.sort(apart)[:_NEAREST].max(initial=0.0)
            self._looked_up[key] = list(compress(self._values, apart <= limit))
        return self._looked_up[key]


def _moments(batches: "pd.DataFrame", others: str, crowd: str) -> list[Moment]:
    return list(map(Moment, *(batches[column].tolist() for column in ("size", others, "idle_s", crowd))))


def _coefficients(values: Floats, *terms: Floats | float) -> list[float]:
    """Of the sum of terms that is nearest to the values (n,), by least squares; none is below 0."""
    return list(nnls(np.column_stack(np.broadcast_arrays(*terms)), values)[0].tolist())
