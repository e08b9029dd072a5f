"""How far simulated loads lie from measured ones: relative errors of p50 and p95. Simulates nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragbench.files.csv_format import CsvFormat
from ragbench.statistics.columns import Floats
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
    are None where the other rates do not suffice for a fit. In every quantile an unanswered request is infinitely late;
    the quantile is None where it falls among these.
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
    latency_p95_s: float | None
    simulated_p95_s: float | None
    p95_off: float | None

    @property
    def is_judged(self) -> bool:
        """Whether it counts: valid, below BELOW, and predicted from other rates."""
        return self.verdict == "valid" and self.load < BELOW and self.is_predicted

    @property
    def agrees(self) -> bool:
        """Whether both quantiles are within the margin."""
        return all(off is not None and abs(off) <= WITHIN for off in (self.p50_off, self.p95_off))


AGREEMENT = CsvFormat(Agreement, real=".6g")


def quantiles(measured_s: Floats, simulated_s: Floats | None) -> dict[str, float | None]:
    """The columns of Agreement that compare latencies; those of requests without an answer are infinite."""
    figures: dict[str, float | None] = {}
    for percent in (50, 95):
        truth_s = percentile(measured_s, percent)
        twin_s = None if simulated_s is None else percentile(simulated_s, percent)
        figures[f"latency_p{percent}_s"] = truth_s
        figures[f"simulated_p{percent}_s"] = twin_s
        figures[f"p{percent}_off"] = None if truth_s is None or twin_s is None else twin_s / truth_s - 1
    return figures


def summary_line(agreements: Sequence[Agreement]) -> str:
    """In one line, how many of the loads that count agree."""
    judged = [agreement for agreement in agreements if agreement.is_judged]
    agreed = sum(agreement.agrees for agreement in judged)
    return (
        f"out of sample (the load's rate left out of the fit), p50 and p95 within {WITHIN:.0%} of measured at {agreed} "
        f"of {len(judged)} valid loads below {BELOW:.0%} of the most that the design answered "
        f"(of {len(agreements)} loads)"
    )
