"""How much of what an SLO allows one load used, and how long a load must last to tell. Pure; sends nothing."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from ragbench.results.slo import PERCENTILES, Slo
from ragbench.statistics.columns import Floats, Window
from ragbench.statistics.in_flight import in_flight_at

MOST_BURN = 20.0
BROKEN_BURN = 2.0  # the least of a load whose verdict says that the service did not carry it

# A load of 60 times the SLO's limit: begun with an empty queue, it finds M/M/1 and M/D/1 no more than 1% above what
# they carry for ever (20 times: 2% to 5%; 5 times: 12% and more).
LOAD_LENGTHS = 60.0
SHORTEST_S, LONGEST_S = 15.0, 120.0
START_BIAS = 0.6  # of limit / length, by which the edge is found too high at most

_SLICES = 20
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Load:
    """One load fired at a rate. `requests`: due in its window; `burn_rate`: used of what the SLO allows, over it.

    `reason`: why the SLO was not kept. `is_service`: whether the service, not the client or another program, failed.
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
    """The most used of any limit; infinite latencies are requests without an ok answer. At most MOST_BURN."""
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
    """Requests that the queue gains over the window, where more start than end by more than chance; else 0.

    A short load cannot show in its latencies a queue that grows slowly: 2% above capacity, 5 s add 0.1 s.
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
    """What one load shows of a service. `latencies_s`: of the requests due in the window, infinite without an answer.

    A queue that gains more than a quarter of the tolerance over the window, as a share of what was due in it, does not
    carry the rate, whatever the latencies still say.
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
    """How long a load lasts unless told otherwise."""
    return min(LONGEST_S, max(SHORTEST_S, LOAD_LENGTHS * _p95_limit_s(slo)))


def start_bias(slo: Slo, length_s: float) -> float:
    """By what share, at most, loads of this length place the capacity too high, since each begins without a queue."""
    return min(0.5, START_BIAS * _p95_limit_s(slo) / length_s)


def _p95_limit_s(slo: Slo) -> float:
    """The largest limit, as one on the 95th percentile of times with an exponential tail, whose mean is a third."""
    nines = {name: -math.log(max(1e-3, _allowed(name, slo))) for name in slo.limits if name != "latency_mean_s"}
    return max(limit_s * -math.log(0.05) / nines.get(name, 1.0) for name, limit_s in slo.limits.items())
