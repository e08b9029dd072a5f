"""The rate at which burn rates cross 1, fitted over the loads near it, with its interval. Pure.

The burn rate of an SLO is late requests over those it allows: 8% late where 5% may be is 1.6. The share of late
requests of a queue rises exponentially with the rate (exactly so in M/M/1) until nearly all are late. So burn rates, at
most MOST_BURN, are fitted by a complementary log-log curve in ln(rate), as binomial shares are. Late requests come in
clumps, so the spread beyond a binomial's is estimated from the loads.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from ragbench.capacity.load import MOST_BURN

Floats = NDArray[np.float64]

# Of the interval. A search ends when it is narrow, sometimes too early: intervals at 0.95 held the truth of 82% to 97%
# of simulated searches.
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
    burn, steepness, variance = _curve(level + slope * x)
    degrees = len(x) - 2
    spread = float(np.sum(weights * (burn_rates - burn) ** 2 / variance)) / degrees
    covariance = np.linalg.inv(_information(x, weights * steepness**2 / variance)) * spread
    edge = float(np.clip((_EDGE - level) / slope, x.min() - _BEYOND, x.max() + _BEYOND))
    by = np.array([-1.0, (level - _EDGE) / slope]) / slope
    off = float(t.ppf(0.5 + LEVEL / 2, degrees)) * math.sqrt(max(0.0, float(by @ covariance @ by)))
    reach = min(off * _UNIT, math.log1p(_FURTHEST))
    rate_rps = math.exp(middle + edge * _UNIT)
    return Edge(rate_rps, rate_rps * math.exp(-reach), rate_rps * math.exp(reach), slope)


_EDGE = math.log(-MOST_BURN * math.log1p(-1 / MOST_BURN))  # where the curve is at a burn rate of 1


def _curve(linear: Floats) -> tuple[Floats, Floats, Floats]:
    """Expected burn rate, its slope and its variance at each load, from the linear predictor; each (n,)."""
    rising = np.exp(np.clip(linear, -8.0, 5.0))  # floats can tell the curve from its ends
    left = np.exp(-rising / MOST_BURN)
    burn = MOST_BURN * (1 - left)
    return burn, rising * left, burn * left


def _coefficients(x: Floats, burn_rates: Floats, weights: Floats) -> tuple[float, float]:
    """Level and slope, by iteratively reweighted least squares; the slope is kept between _SLOPES.

    Any steep slope fits where burn rates below a rate are 0 and above it MOST_BURN.
    """
    estimate = np.array([math.log(max(0.05, float(np.average(burn_rates, weights=weights)))), 1.0])
    design = np.column_stack([np.ones_like(x), x])
    for _ in range(_STEPS):
        burn, steepness, variance = _curve(design @ estimate)
        weighted = weights * steepness**2 / variance
        missed = design.T @ (weighted * (burn_rates - burn) / steepness)
        step = np.clip(np.linalg.solve(_information(x, weighted), missed), -2.0, 2.0)
        step[1] = np.clip(estimate[1] + step[1], *_SLOPES) - estimate[1]
        estimate = estimate + step
        if np.abs(step).max() < 1e-6:
            break
    return float(estimate[0]), float(estimate[1])


def _information(x: Floats, weights: Floats) -> Floats:
    """Fisher's, with a trace more on the slope, so that it can be inverted where all rates are the same."""
    design = np.column_stack([np.ones_like(x), x])
    return design.T @ (weights[:, None] * design) + np.diag([1e-9, 1e-3])
