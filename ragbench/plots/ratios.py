"""How many times larger one figure is than another, with the interval that their own intervals give. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Estimate:
    """A positive figure of one run with its 95% interval."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high or self.value <= 0:
            raise ValueError(f"want 0 < value and 0 < low <= high, got {self.value}, {self.low}, {self.high}")


def ratio(firsts: Sequence[Estimate], seconds: Sequence[Estimate]) -> Estimate:
    """Second over first, a pair of independent runs a place: the geometric mean of the ratios, and its 95% interval.

    The distances from each logarithm to the ends of its interval are added as squares: MOVER, Zou and Donner,
    Construction of confidence limits about effect measures, Statistics in Medicine 27 (2008). Raises ValueError without
    pairs.
    """
    if not firsts or len(firsts) != len(seconds):
        raise ValueError(f"want as many seconds as firsts, at least one; got {len(firsts)} and {len(seconds)}")
    one, other = _logs(firsts), _logs(seconds)
    middle = float(np.mean(other[1] - one[1]))
    below = np.hypot(other[1] - np.minimum(other[0], other[1]), np.maximum(one[2], one[1]) - one[1])
    above = np.hypot(np.maximum(other[2], other[1]) - other[1], one[1] - np.minimum(one[0], one[1]))
    low, high = (float(np.sqrt(np.sum(ends**2)) / len(firsts)) for ends in (below, above))
    return Estimate(*(float(np.exp(end)) for end in (middle, middle - low, middle + high)))


def _logs(estimates: Sequence[Estimate]) -> np.ndarray:
    """Logarithms of low, value and high (3, n)."""
    return np.log([[each.low, each.value, each.high] for each in estimates]).T
