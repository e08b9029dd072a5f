"""What only one scenario measures: memory and descriptors over time, and how an overload was turned away. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ragbench.chaos.exchange import Exchange

Figures = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the processes of a fleet hold together at one moment."""

    t_s: float
    memory_mib: float
    descriptors: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """All there is to compute figures from once a scenario is over. `crowd`, `crowd_s`: as of a Stage.

    `footprints`: one a second under load, and a last one once nothing is outstanding.
    """

    exchanges: Sequence[Exchange]
    crowd: Sequence[Exchange]
    footprints: Sequence[Footprint]
    capacity_rps: float
    crowd_s: tuple[float, float]
    late_s: float


def send_lag_p99_ms(exchanges: Iterable[Exchange]) -> float | None:
    """How late this client was (p99): where it is much, the machine is too small for the load and the fleet."""
    lags = [it.row.send_lag_s * 1000 for it in exchanges if it.row.send_lag_s is not None]
    return _quantile(lags, 0.99)


def footprint_figures(evidence: Evidence) -> Figures:
    """Memory growth over the second half of the load, and descriptors before, under and after it."""
    first, *under_load, last = evidence.footprints
    return {
        "memory_mib_per_min": memory_slope_mib_per_min(under_load),
        "descriptors_before": first.descriptors,
        "descriptors_most": max((it.descriptors for it in under_load), default=None),
        "descriptors_after": last.descriptors,
    }


def memory_slope_mib_per_min(footprints: Sequence[Footprint]) -> float | None:
    """Least squares over the later half of the samples; None where that is fewer than three."""
    half = footprints[len(footprints) // 2 :]
    if len(half) < 3:
        return None
    slope, _ = np.polyfit([it.t_s for it in half], [it.memory_mib for it in half], 1)
    return float(slope) * 60


def overload_figures(evidence: Evidence) -> Figures:
    """Of the requests beyond the load's own share, which came only during the overload, and of that time."""
    crowd = evidence.crowd
    refused = [it for it in crowd if it.fate == "rejected"]
    ratios = retry_after_ratios(crowd)
    return {
        "goodput_share_of_capacity": goodput_share(evidence),
        "rejection_p99_ms": _quantile([_took_s(it) * 1000 for it in refused], 0.99),
        "retry_after_over_wait_p50": _quantile(ratios, 0.5),
        "retry_after_within_factor_2": sum(0.5 <= it <= 2 for it in ratios) / len(ratios) if ratios else None,
    }


def goodput_share(evidence: Evidence) -> float | None:
    """Answers in time per second of the overload, of the load and of the crowd, over the capacity."""
    begin_s, end_s = evidence.crowd_s
    if end_s <= begin_s:
        return None
    during = [*evidence.crowd, *(it for it in evidence.exchanges if begin_s <= it.row.due_s < end_s)]
    in_time = sum(it.latency_s is not None and it.latency_s <= evidence.late_s for it in during)
    return in_time / (end_s - begin_s) / evidence.capacity_rps


def retry_after_ratios(exchanges: Sequence[Exchange]) -> list[float]:
    """For each refusal: `Retry-After` over how long the queue was that it stood for.

    That is how long the answered request waited which was sent last before it: who comes back then finds that queue
    gone.
    """
    answered = sorted((it.row.sent_s, _took_s(it)) for it in exchanges if it.fate == "answered" and it.row.sent_s)
    sent = np.array([sent_s for sent_s, _ in answered])
    ratios = []
    for it in exchanges:
        if it.fate == "rejected" and it.retry_after_s is not None and it.row.sent_s is not None:
            place = int(np.searchsorted(sent, it.row.sent_s)) - 1
            if place >= 0:
                ratios.append(it.retry_after_s / max(answered[place][1], 1e-6))
    return ratios


def _took_s(exchange: Exchange) -> float:
    row = exchange.row
    return row.done_s - row.sent_s if row.done_s is not None and row.sent_s is not None else 0.0


def _quantile(values: Sequence[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None
