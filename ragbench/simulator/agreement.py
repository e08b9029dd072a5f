"""How far simulated loads lie from measured ones: relative errors of p50 and p95. Simulates nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragbench.files.csv_format import CsvFormat
from ragbench.results.records import Row
from ragbench.statistics.columns import Columns, Floats, Window
from ragbench.statistics.summary import percentile

# Share of the highest throughput measured. Above it, small errors of service time become large ones of latency.
BELOW = 0.8
WITHIN = 0.15


@dataclass(frozen=True, slots=True)
class Agreement:
    """One load on one design, measured and simulated; its fields are the columns of agreement.csv, in order.

    The requests of all seeds are pooled. `load`: the rate over the most that the design ever answered, which is its
    capacity only where it was offered more. `verdict`: `valid` only if all points are. `speed`: how long its batches
    took relative to the fit, 1.1 where the machine was a tenth slower than at the design's other loads.
    `simulated_...` and `..._off` are out of sample: the rate was left out of the fit, at every arrival and seed. They
    are None where the other rates do not suffice for a fit. `in_sample_...`: the load was in the fit. In every quantile
    an unanswered request is infinitely late; the quantile is None where it falls among these.
    """

    design: str
    arrival: str
    offered_rps: float
    seeds: int
    load: float
    verdict: str
    speed: float
    is_predicted: bool
    latency_p50_s: float | None
    simulated_p50_s: float | None
    p50_off: float | None
    in_sample_p50_s: float | None
    in_sample_p50_off: float | None
    latency_p95_s: float | None
    simulated_p95_s: float | None
    p95_off: float | None
    in_sample_p95_s: float | None
    in_sample_p95_off: float | None

    @property
    def is_judged(self) -> bool:
        """Whether it counts: valid, below BELOW, and predicted from other rates."""
        return self.verdict == "valid" and self.load < BELOW and self.is_predicted

    @property
    def agrees(self) -> bool:
        """Whether both are within the margin, out of sample."""
        return _is_within(self.p50_off) and _is_within(self.p95_off)

    @property
    def agrees_in_sample(self) -> bool:
        """Whether both are within the margin where the fit had seen the load."""
        return _is_within(self.in_sample_p50_off) and _is_within(self.in_sample_p95_off)


AGREEMENT = CsvFormat(Agreement, real=".6g")


def _is_within(off: float | None) -> bool:
    return off is not None and abs(off) <= WITHIN


@dataclass(frozen=True, slots=True)
class Pair:
    """A measured point and its twins: latencies of what was due in the steady window, infinite where unanswered.

    `simulated_s` is without the point's rate in the fit; None where there is no such fit.
    """

    verdict: str
    measured_s: Floats
    simulated_s: Floats | None
    in_sample_s: Floats
    speed: float


def latencies(rows: Sequence[Row], window: Window) -> Floats:
    """Of the requests that fell due in `window`, s; infinite where they were not answered."""
    columns = Columns(rows)
    return columns.latencies_of(window.holds(columns.due_s))


def agree(design: str, arrival: str, offered_rps: float, pairs: Sequence[Pair], *, most_rps: float) -> Agreement | None:
    """The pairs' requests pooled; None where nothing measured was answered."""
    measured_s = np.concatenate([pair.measured_s for pair in pairs])
    if not np.isfinite(measured_s).any():
        return None
    predicted = [pair.simulated_s for pair in pairs if pair.simulated_s is not None]
    simulated_s = np.concatenate(predicted) if len(predicted) == len(pairs) else None
    in_sample_s = np.concatenate([pair.in_sample_s for pair in pairs])
    figures: dict[str, float | None] = {}
    for percent in (50, 95):
        truth_s = percentile(measured_s, percent)
        outside_s, inside_s = (None if s is None else percentile(s, percent) for s in (simulated_s, in_sample_s))
        figures |= {
            f"latency_p{percent}_s": truth_s,
            f"simulated_p{percent}_s": outside_s,
            f"p{percent}_off": _off(outside_s, truth_s),
            f"in_sample_p{percent}_s": inside_s,
            f"in_sample_p{percent}_off": _off(inside_s, truth_s),
        }
    return Agreement(
        design=design,
        arrival=arrival,
        offered_rps=offered_rps,
        seeds=len(pairs),
        load=offered_rps / most_rps,
        verdict=next((pair.verdict for pair in pairs if pair.verdict != "valid"), "valid"),
        speed=float(np.mean([pair.speed for pair in pairs])),
        is_predicted=simulated_s is not None,
        **figures,
    )


def _off(simulated_s: float | None, measured_s: float | None) -> float | None:
    return None if simulated_s is None or measured_s is None else simulated_s / measured_s - 1


def summary_line(agreements: Sequence[Agreement]) -> str:
    """In one line, how many of the loads that count agree."""
    judged = [agreement for agreement in agreements if agreement.is_judged]
    agreed = sum(agreement.agrees for agreement in judged)
    inside = sum(agreement.agrees_in_sample for agreement in judged)
    return (
        f"out of sample (the load's rate left out of the fit), p50 and p95 within {WITHIN:.0%} of measured at {agreed} "
        f"of {len(judged)} valid loads below {BELOW:.0%} of the most that the design answered; in sample at {inside} "
        f"(of {len(agreements)} loads)"
    )
