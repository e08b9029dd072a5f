"""Searches of simulated queues whose capacity is known: how far off they end, and how often the bracket holds it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from ragbench.calibration.queueing import sojourns
from ragbench.capacity.load import load_length_s, loaded, start_bias
from ragbench.capacity.search import Found, Search
from ragbench.results.slo import Slo
from ragbench.statistics.columns import WARM_UP_SHARE, Window

TITLE = "Capacity searches on queues whose capacity is known"
SEARCHES = 20
MOST_OFF = 0.03
LEAST_HELD = 17
_LONG = 2_000_000  # requests of the long run that places M/D/1's capacity


@dataclass(frozen=True, slots=True)
class Known:
    """A queue with one server: `exponential` (M/M/1) or `deterministic` (M/D/1) service, and a limit on its p95."""

    kind: str
    serves_rps: float
    p95_s: float

    @property
    def slo(self) -> Slo:
        """The limit."""
        return Slo({"latency_p95_s": self.p95_s})

    def service_s(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Of n requests."""
        mean_s = 1 / self.serves_rps
        return rng.exponential(mean_s, n) if self.kind == "exponential" else np.full(n, mean_s)

    def capacity_rps(self) -> float:
        """In the long run. M/M/1: times in the system are exponential at serves - rate. M/D/1: one long run, scaled."""
        if self.kind == "exponential":
            return self.serves_rps - math.log(20) / self.p95_s
        rng = np.random.default_rng(1909)
        gaps, service_s = np.cumsum(rng.exponential(1.0, _LONG)), self.service_s(_LONG, rng)

        def late(rate_rps: float) -> float:
            return float(np.mean(sojourns(gaps / rate_rps, service_s) > self.p95_s)) - 0.05

        return float(brentq(late, 0.2 * self.serves_rps, 0.9995 * self.serves_rps, xtol=1e-4 * self.serves_rps))


KNOWN = (
    Known("exponential", 100, 0.25),
    Known("deterministic", 100, 0.25),
    Known("exponential", 100, 0.1),
    Known("deterministic", 100, 0.1),
    Known("exponential", 500, 0.25),
    Known("deterministic", 500, 0.25),
    Known("exponential", 20, 1.0),
    Known("deterministic", 20, 1.0),
)


def search(known: Known, rng: np.random.Generator, *, length_s: float | None = None) -> tuple[Found, int]:
    """One search, by the code that `ragbench capacity` runs, on loads in virtual time. -> found, loads fired."""
    length_s = length_s or load_length_s(known.slo)
    ends = Search(known.serves_rps / 3.3, bias=start_bias(known.slo, length_s))
    while (rate_rps := ends.next_rps) is not None:
        due_s = np.sort(rng.uniform(0, length_s, rng.poisson(rate_rps * length_s)))
        latency_s = sojourns(due_s, known.service_s(len(due_s), rng))
        window = Window(WARM_UP_SHARE * length_s, length_s)
        within = window.holds(due_s)
        ends = ends.after(
            loaded(
                rate_rps,
                latency_s[within],
                starts_s=due_s,
                ends_s=due_s + latency_s,
                window=window,
                slo=known.slo,
                tolerance=ends.tolerance,
            )
        )
    return ends.found(), len(ends.loads)


def rows(report: Callable[[str], None], *, searches: int = SEARCHES, knowns: Sequence[Known] = KNOWN) -> Iterator[dict]:
    """A row a queue."""
    for place, known in enumerate(knowns):
        report(f"{known.kind} service at {known.serves_rps:g}/s, p95 <= {known.p95_s:g} s: {searches} searches")
        children = np.random.default_rng([2026, place]).spawn(searches)
        yield _row(known, [search(known, rng) for rng in children])


def _row(known: Known, searched: Sequence[tuple[Found, int]]) -> dict[str, Any]:
    truth_rps = known.capacity_rps()
    found = [one for one, _ in searched]
    capacities = np.array([one.capacity_rps for one in found], dtype=np.float64)
    held = sum((one.low_rps or 0.0) <= truth_rps <= (one.high_rps or math.inf) for one in found)
    widths = [one.high_rps / one.low_rps - 1 for one in found if one.low_rps and one.high_rps]
    return {
        "queue": "M/M/1" if known.kind == "exponential" else "M/D/1",
        "serves_rps": known.serves_rps,
        "latency_p95_s": known.p95_s,
        "capacity_rps": round(truth_rps, 2),
        "searches": len(found),
        "mean_found_rps": round(float(capacities.mean()), 2),
        "mean_off": round(float(capacities.mean()) / truth_rps - 1, 4),
        "sd": round(float(capacities.std(ddof=1)) / truth_rps, 4),
        "bracket_holds": held,
        "bracket_width": round(float(np.median(widths)), 3),
        "resolved": sum(one.resolved for one in found),
        "loads": round(float(np.mean([loads for _, loads in searched])), 1),
        "load_s": load_length_s(known.slo),
    }


def notes(table: pd.DataFrame) -> list[str]:
    """What the table shows, judged."""
    near = int((table.mean_off.abs() <= MOST_OFF).sum())
    holds = int((table.bracket_holds >= LEAST_HELD * table.searches / SEARCHES).sum())
    return [
        f"The mean of {table.searches.iloc[0]} searches lies within {MOST_OFF:.0%} of the long-run capacity "
        f"in {near} of {len(table)} queues.",
        f"The bracket holds it in at least {LEAST_HELD} of {SEARCHES} searches in {holds} of {len(table)} queues.",
    ]
