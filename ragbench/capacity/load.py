"""The burn rate of one load against an SLO, and how long a load must last. Pure; sends nothing."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from ragbench.results.slo import PERCENTILES, Slo
from ragbench.statistics.columns import Floats, Window
from ragbench.statistics.in_flight import in_flight_at

MOST_BURN = 20.0
BROKEN_BURN = 2.0  # the least of a load that is not valid

# A load begins with an empty queue. One of 60 times the SLO's limit places the capacity of M/M/1 and M/D/1 at most 1%
# too high (20 times: 2% to 5%; 5 times: 12% and more).
LOAD_LENGTHS = 60.0
SHORTEST_S, LONGEST_S = 15.0, 120.0
START_BIAS = 0.6  # of limit / length: the most by which the edge is too high

_SLICES = 20
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Load:
    """One load at a rate. `requests`: due in its window; `burn_rate`: late requests over those that the SLO allows.

    `reason`: why the SLO was not kept. `is_service`: False where the client or another program was at fault.
    """

    rate_rps: float
    requests: int
    burn_rate: float
    reason: str = ""
    is_service: bool = True

    @property
    def kept(self) -> bool:
        """Whether the SLO was kept."""
        return self.burn_rate <= 1

    def __str__(self) -> str:
        line = f"{self.rate_rps:g}/s: {self.burn_rate:.2g} times what the SLO allows"
        return line + (f" ({self.reason})" if self.reason else "")


def burn_rate(latencies_s: Floats, slo: Slo) -> float:
    """The largest of all limits, at most MOST_BURN. Latencies (n,), infinite without an ok answer."""
    if not latencies_s.size:
        return 0.0
    used = [_used(latencies_s, name, limit, slo) for name, limit in slo.limits.items()]
    return min(MOST_BURN, max(used))


def _used(latencies_s: Floats, name: str, limit_s: float, slo: Slo) -> float:
    if name == "latency_mean_s":
        return float(np.mean(latencies_s)) / limit_s
    return float(np.mean(latencies_s > limit_s)) / max(_allowed(name, slo), 0.5 / latencies_s.size)


def _allowed(name: str, slo: Slo) -> float:
    """The share of requests that may be later than the limit."""
    return 1 - slo.attainment if name == "latency_s" else (100 - PERCENTILES[name]) / 100


def falling_behind(starts_s: Floats, ends_s: Floats, window: Window) -> float:
    """Requests that the queue gains over the window where its growth is more than chance; else 0.

    The latencies of a short load do not show slow growth: 2% above capacity, 5 s add 0.1 s.
    """
    edges = np.linspace(window.start_s, window.end_s, _SLICES + 1)
    gained = np.diff(in_flight_at(starts_s, ends_s, edges)).astype(np.float64)
    error = float(np.std(gained, ddof=1)) / math.sqrt(_SLICES)
    is_chance = np.mean(gained) <= float(t.ppf(0.5 + _LEVEL / 2, _SLICES - 1)) * error
    return 0.0 if is_chance else float(np.sum(gained))


def loaded(
    rate_rps: float,
    latencies_s: Floats,
    *,
    starts_s: Floats,
    ends_s: Floats,
    window: Window,
    slo: Slo,
    tolerance: float,
) -> Load:
    """The load as measured. `latencies_s`: of the requests due in the window, infinite without an answer.

    A rate is not carried either where the queue gains more than a quarter of the tolerance over the window, as a share
    of the requests due in it.
    """
    burn = burn_rate(latencies_s, slo)
    behind = falling_behind(starts_s, ends_s, window) / max(1, len(latencies_s))
    burn_behind = min(MOST_BURN, behind / (tolerance / 4))
    reason = ""
    if burn > 1:
        reason = "the SLO was not kept"
    elif burn_behind > 1:
        reason = f"answers fell behind by {behind:.1%} of what was asked"
    return Load(rate_rps, len(latencies_s), max(burn, burn_behind), reason)


def load_length_s(slo: Slo) -> float:
    """The default length of a load."""
    return min(LONGEST_S, max(SHORTEST_S, LOAD_LENGTHS * _p95_limit_s(slo)))


def start_bias(slo: Slo, length_s: float) -> float:
    """The largest share by which loads of this length place the capacity too high; each begins without a queue."""
    return min(0.5, START_BIAS * _p95_limit_s(slo) / length_s)


def _p95_limit_s(slo: Slo) -> float:
    """The largest limit, converted to one on the 95th percentile by an exponential tail."""
    nines = {name: -math.log(max(1e-3, _allowed(name, slo))) for name in slo.limits if name != "latency_mean_s"}
    return max(limit_s * -math.log(0.05) / nines.get(name, 1.0) for name, limit_s in slo.limits.items())
