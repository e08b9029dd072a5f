"""Service level objectives: limits on latency, and whether the requests of a point keep them. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ragbench.results.metrics import METRICS

PERCENTILES = {name: metric.percentile for name, metric in METRICS.items() if metric.percentile is not None}
# The first is of a request, the others are of a point.
LIMITS = ("latency_s", *(name for name, metric in METRICS.items() if "SLO" in metric.uses))
_NEVER_S = 1e300  # an unanswered request's latency; infinity itself cannot be interpolated


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits in seconds by name, one or more of LIMITS.

    `latency_s` limits each request, and is kept where at least the share `attainment` of all requests keeps it; the
    others limit the mean and the percentiles of a point. A request without an answer is slower than any limit.
    """

    limits: Mapping[str, float]
    attainment: float = 0.95

    def __post_init__(self) -> None:
        known = ", ".join(LIMITS)
        mistakes = [] if self.limits else [f"an slo needs a limit; known: {known}"]
        mistakes += [f"unknown slo {name!r}; known: {known}, attainment" for name in self.limits.keys() - LIMITS]
        for name, limit in self.limits.items():
            if not _is_number(limit) or not 0 < limit < math.inf:
                mistakes.append(f"slo {name} must be a number of seconds > 0, got {limit!r}")
        if not _is_number(self.attainment) or not 0 < self.attainment <= 1:
            mistakes.append(f"slo attainment must be a share above 0, up to 1, got {self.attainment!r}")
        if mistakes:
            raise ValueError("; ".join(sorted(mistakes)))

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "Slo":
        """From a table as in a study file, `{latency_p95_s = 1.0}`. Raises ValueError with the names it takes."""
        limits = {name: limit for name, limit in table.items() if name != "attainment"}
        return cls(limits, table["attainment"]) if "attainment" in table else cls(limits)

    @property
    def limit_s(self) -> float:
        """The limit for one request: `latency_s`, else the largest limit on a percentile, else infinite."""
        if "latency_s" in self.limits:
            return self.limits["latency_s"]
        return max((limit for name, limit in self.limits.items() if name in PERCENTILES), default=math.inf)

    def met(self, latencies_s: ArrayLike) -> bool:
        """Whether latencies of all requests (n,), infinite without an ok answer, keep every limit; False if empty."""
        latencies = np.asarray(latencies_s, dtype=np.float64)
        if not latencies.size:
            return False
        finite = np.minimum(latencies, _NEVER_S)
        return all(self._kept(name, limit, finite) for name, limit in self.limits.items())

    def _kept(self, name: str, limit: float, latencies_s: np.ndarray) -> bool:
        if name == "latency_s":
            return bool(np.mean(latencies_s <= limit) >= self.attainment)
        if name == "latency_mean_s":
            return bool(np.mean(latencies_s) <= limit)
        return bool(np.percentile(latencies_s, PERCENTILES[name]) <= limit)

    def as_dict(self) -> dict[str, float]:
        """A table that `Slo.of` reads, for a manifest."""
        return {**self.limits, "attainment": self.attainment}

    def __str__(self) -> str:
        share = f" for {self.attainment:.0%} of requests"
        return ", ".join(f"{n} <= {limit:g}{share if n == 'latency_s' else ''}" for n, limit in self.limits.items())


def parse_slo(options: Sequence[str]) -> Slo | None:
    """From options such as `latency_p95_s=1.0`; None without any. Raises ValueError with the names it takes."""
    table: dict[str, float] = {}
    for option in options:
        name, _, value = option.partition("=")
        if name in table:
            raise ValueError(f"slo {name} is given twice")
        try:
            table[name] = float(value)
        except ValueError:
            raise ValueError(f"an slo looks like latency_p95_s=1.0, got {option!r}") from None
    return Slo.of(table) if table else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
