"""What a queue with one server does, by theory and solved exactly. Pure; sends nothing."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Floats = NDArray[np.float64]


def service_times(kind: str, mean_s: float, *, n: int, seed: int) -> Floats:
    """The service times of requests 0 .. n - 1, (n,) s: `deterministic`, or `exponential` with this mean."""
    if kind == "exponential":
        return np.random.default_rng([seed, 0]).exponential(mean_s, n)
    return np.full(n, mean_s)


def sojourns(due_s: Floats, service_s: Floats) -> Floats:
    """Time from arrival to answer of each request, (n,) s, first come first served by one server (Lindley, 1952).

    An answer is given when all service since the start of its busy period has been done, and the busy period that
    matters is the one that ends last: answered_n = max over k <= n of (due_k + service_k + ... + service_n).
    """
    worked_s = np.cumsum(service_s)
    answered_s = worked_s + np.maximum.accumulate(due_s - (worked_s - service_s))
    return answered_s - due_s


def mean_sojourn_s(kind: str, mean_s: float, utilisation: float) -> float:
    """The mean of M/M/1 (`exponential`) or M/D/1 (`deterministic`), by Pollaczek and Khinchine's formula."""
    spread = 2.0 if kind == "exponential" else 1.0  # 1 + squared coefficient of variation of service
    return mean_s * (1 + utilisation * spread / (2 * (1 - utilisation)))


def p95_sojourn_s(kind: str, mean_s: float, utilisation: float) -> float:
    """The 95th percentile of M/M/1 (exponential sojourn) or M/D/1 (Erlang's sum, inverted numerically)."""
    if kind == "exponential":
        return mean_s * math.log(20) / (1 - utilisation)
    waits = brentq(lambda wait: _waits_at_most(wait, utilisation) - 0.95, 0.0, 50 / (1 - utilisation))
    return mean_s * (1 + float(waits))


def _waits_at_most(wait: float, utilisation: float) -> float:
    """P(waiting time of M/D/1 <= `wait` service times): Erlang 1909; Tijms, A First Course in Stochastic Models, 9.6.

    The terms alternate and cancel, so in floats it holds for waits of up to some 20 service times; above, the tail is
    below 1e-3 at the utilisations used here and is taken as none.
    """
    if wait > 20:
        return 1.0
    terms = (
        (utilisation * (k - wait)) ** k / math.factorial(k) * math.exp(-utilisation * (k - wait))
        for k in range(math.floor(wait) + 1)
    )
    return (1 - utilisation) * math.fsum(terms)
