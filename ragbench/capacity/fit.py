"""Where burn rates cross 1, fitted over the loads near there, and how far that may be off. Pure.

The burn rate of an SLO is what was used over what it allows: 8% of requests late where 5% may be is 1.6. The share of
requests that a queue keeps longer than a limit rises exponentially with the rate (exactly so in M/M/1) until nearly all
are late. So burn rates, which end at MOST_BURN, are fitted by a complementary log-log curve in ln(rate), as the shares
of a binomial are. What their spread is more than a binomial's is estimated from the loads: late requests come in
clumps, and their number tells less than it seems.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from ragbench.capacity.load import MOST_BURN

Floats = NDArray[np.float64]

# Of the interval. A search ends when it is narrow, and now and then it is narrow too early: of intervals at 0.95, 82%
# to 97% held the truth of simulated searches.
LEVEL = 0.98
_UNIT = 0.05  # of ln(rate): slopes are per 5% of rate, so that the steps of the iteration are of the order of 1
_SLOPES = (0.1, 40.0)
_STEPS = 40
_BEYOND = 2.0  # units past the rates loaded, to which the edge may be extrapolated
_FURTHEST = 0.25  # that the interval may reach from the edge, as a share


@dataclass(frozen=True, slots=True)
class Edge:
    """The rate at which the burn rate is 1, with its interval. `slope`: of ln(burn rate) per 5% of rate."""

    rate_rps: float
    low_rps: float
    high_rps: float
    slope: float


def fit(rates: Floats, burn_rates: Floats, requests: Floats) -> Edge:
    """Quasi-binomial regression, complementary log-log, a load weighing as its requests; each (n,), n >= 3.

    The interval is by the delta method, with Student's t.
    """
    middle = float(np.mean(np.log(rates)))
    x = (np.log(rates) - middle) / _UNIT
    weights = requests / np.mean(requests)
    level, slope = _coefficients(x, burn_rates, weights)
    curve = _Curve.of(level + slope * x)
    degrees = len(x) - 2
    spread = float(np.sum(weights * (burn_rates - curve.burn) ** 2 / curve.variance)) / degrees
    covariance = np.linalg.inv(_information(x, weights * curve.weight)) * spread
    edge = float(np.clip((_EDGE - level) / slope, x.min() - _BEYOND, x.max() + _BEYOND))
    by = np.array([-1.0, (level - _EDGE) / slope]) / slope
    off = float(t.ppf(0.5 + LEVEL / 2, degrees)) * math.sqrt(max(0.0, float(by @ covariance @ by)))
    reach = min(off * _UNIT, math.log1p(_FURTHEST))
    rate_rps = math.exp(middle + edge * _UNIT)
    return Edge(rate_rps, rate_rps * math.exp(-reach), rate_rps * math.exp(reach), slope)


_EDGE = math.log(-MOST_BURN * math.log1p(-1 / MOST_BURN))  # where the curve is at a burn rate of 1


@dataclass(frozen=True, slots=True)
class _Curve:
    """The burn rate expected at each load, its slope and variance; each (n,). `weight`: in the regression."""

    burn: Floats
    slope: Floats
    variance: Floats

    @classmethod
    def of(cls, linear: Floats) -> "_Curve":
        """Of the linear predictor, kept within what floats can be told apart."""
        rising = np.exp(np.clip(linear, -8.0, 5.0))
        left = np.exp(-rising / MOST_BURN)
        burn = MOST_BURN * (1 - left)
        return cls(burn, rising * left, burn * left)

    @property
    def weight(self) -> Floats:
        return self.slope**2 / self.variance


def _coefficients(x: Floats, burn_rates: Floats, weights: Floats) -> tuple[float, float]:
    """Level and slope, by iteratively reweighted least squares; the slope is kept between _SLOPES.

    Where every load below a rate used nothing and every one above it used all, any steep slope fits.
    """
    found = np.array([math.log(max(0.05, float(np.average(burn_rates, weights=weights)))), 1.0])
    design = np.column_stack([np.ones_like(x), x])
    for _ in range(_STEPS):
        curve = _Curve.of(design @ found)
        weighted = weights * curve.weight
        missed = design.T @ (weighted * (burn_rates - curve.burn) / curve.slope)
        step = np.clip(np.linalg.solve(_information(x, weighted), missed), -2.0, 2.0)
        step[1] = np.clip(found[1] + step[1], *_SLOPES) - found[1]
        found = found + step
        if np.abs(step).max() < 1e-6:
            break
    return float(found[0]), float(found[1])


def _information(x: Floats, weights: Floats) -> Floats:
    """Fisher's, with a trace more on the slope, so that it can be inverted where all rates are the same."""
    design = np.column_stack([np.ones_like(x), x])
    return design.T @ (weights[:, None] * design) + np.diag([1e-9, 1e-3])
