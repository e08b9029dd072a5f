"""How far simulated loads lie from measured ones: relative errors of p50 and p95. Simulates nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ragbench.columns import Columns, Floats, Window
from ragbench.csv_table import csv_text
from ragbench.records import Row

# Nearer to the most that a design was seen to answer, small errors of service time become large ones of latency.
BELOW = 0.8
WITHIN = 0.15


@dataclass(frozen=True, slots=True)
class Agreement:
    """One load on one design, measured and simulated; its fields are the columns of agreement.csv, in order.

    The requests of all its seeds count together. `load`: its rate over the most that the design ever answered, which
    is its capacity only where it was offered more;
    `verdict`: the first of its points' that is not valid; `speed`: how long its batches took over what the fit gives
    such batches on average, so 1.1 where the machine was a tenth slower at this load than at the design's others.
    """

    design: str
    arrival: str
    offered_rps: float
    seeds: int
    load: float
    verdict: str
    speed: float
    latency_p50_s: float
    simulated_p50_s: float
    p50_off: float
    latency_p95_s: float
    simulated_p95_s: float
    p95_off: float

    @property
    def is_judged(self) -> bool:
        """Whether it counts: measured well, and clear of saturation."""
        return self.verdict == "valid" and self.load < BELOW

    @property
    def agrees(self) -> bool:
        """Whether both are within the margin."""
        return abs(self.p50_off) <= WITHIN and abs(self.p95_off) <= WITHIN


@dataclass(frozen=True, slots=True)
class Pair:
    """A measured point and its twin: latencies of the answers that were due in the steady window."""

    verdict: str
    measured_s: Floats
    simulated_s: Floats
    speed: float


def latencies(rows: Sequence[Row], window: Window) -> Floats:
    """Of the requests that fell due in `window` and were answered, s."""
    columns = Columns.of(rows)
    return columns.latency_s[columns.is_ok & window.holds(columns.due_s)]


def agree(design: str, arrival: str, offered_rps: float, pairs: Sequence[Pair], *, most_rps: float) -> Agreement | None:
    """The pairs' requests pooled; None where either side has no answers."""
    measured = np.concatenate([pair.measured_s for pair in pairs])
    simulated = np.concatenate([pair.simulated_s for pair in pairs])
    if not (measured.size and simulated.size):
        return None
    p50, p95 = np.percentile(measured, [50, 95]).tolist()
    simulated_p50, simulated_p95 = np.percentile(simulated, [50, 95]).tolist()
    return Agreement(
        design=design,
        arrival=arrival,
        offered_rps=offered_rps,
        seeds=len(pairs),
        load=offered_rps / most_rps,
        verdict=next((pair.verdict for pair in pairs if pair.verdict != "valid"), "valid"),
        speed=float(np.mean([pair.speed for pair in pairs])),
        latency_p50_s=p50,
        simulated_p50_s=simulated_p50,
        p50_off=simulated_p50 / p50 - 1,
        latency_p95_s=p95,
        simulated_p95_s=simulated_p95,
        p95_off=simulated_p95 / p95 - 1,
    )


COLUMNS = tuple(item.name for item in fields(Agreement))


def agreement_csv(agreements: Sequence[Agreement]) -> str:
    """The table as CSV text."""
    return csv_text(COLUMNS, ([_cell(getattr(one, name)) for name in COLUMNS] for one in agreements))


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def told(agreements: Sequence[Agreement]) -> str:
    """In one line, how many of the loads that count agree."""
    judged = [one for one in agreements if one.is_judged]
    agreed = sum(one.agrees for one in judged)
    return (
        f"p50 and p95 within {WITHIN:.0%} at {agreed} of {len(judged)} valid loads below {BELOW:.0%} of the most that "
        f"the design answered (of {len(agreements)} loads)"
    )
