"""Figures of single scenarios: memory and descriptors over time, and how an overload was refused. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ragbench.chaos.experiment import Experiment
from ragbench.chaos.fleet import Footprint
from ragbench.chaos.outcome import Exchange

Figures = Mapping[str, float | None]


def send_lag_p99_ms(exchanges: Iterable[Exchange]) -> float | None:
    """How late this client sent (p99): large where the machine is too small for load and fleet."""
    return _quantile([each.row.send_lag_s * 1000 for each in exchanges if each.row.send_lag_s is not None], 0.99)


def footprint_figures(experiment: Experiment) -> Figures:
    """Memory growth over the second half of the load, and descriptors before, under and after it."""
    first, *under_load, last = experiment.footprints
    return {
        "memory_mib_per_min": memory_slope_mib_per_min(under_load),
        "descriptors_before": first.descriptors,
        "descriptors_most": max((footprint.descriptors for footprint in under_load), default=None),
        "descriptors_after": last.descriptors,
    }


def memory_slope_mib_per_min(footprints: Sequence[Footprint]) -> float | None:
    """Least squares over the second half of the samples; None for fewer than three."""
    half = footprints[len(footprints) // 2 :]
    if len(half) < 3:
        return None
    return 60 * float(np.polyfit([each.t_s for each in half], [each.memory_mib for each in half], 1)[0])


def overload_figures(experiment: Experiment) -> Figures:
    """Goodput during the overload, and how the requests of the crowd were refused."""
    crowd = experiment.crowd
    ratios = retry_after_ratios(crowd)
    return {
        "goodput_share_of_capacity": goodput_share(experiment),
        "rejection_p99_ms": _quantile([_took_s(each) * 1000 for each in crowd if each.fate == "rejected"], 0.99),
        "retry_after_over_wait_p50": _quantile(ratios, 0.5),
        "retry_after_within_factor_2": sum(0.5 <= ratio <= 2 for ratio in ratios) / len(ratios) if ratios else None,
    }


def goodput_share(experiment: Experiment) -> float | None:
    """Answers in time a second of the overload, of load and crowd together, over the capacity."""
    begin_s, end_s = experiment.crowd_s
    if end_s <= begin_s:
        return None
    during = [*experiment.crowd, *(each for each in experiment.exchanges if begin_s <= each.row.due_s < end_s)]
    late_s = experiment.terms.late_s
    in_time = sum(each.latency_s is not None and each.latency_s <= late_s for each in during)
    return in_time / (end_s - begin_s) / experiment.capacity_rps


def retry_after_ratios(exchanges: Sequence[Exchange]) -> list[float]:
    """For each refusal: `Retry-After` over the time that the queue at that moment took to empty.

    That time is the latency of the answered request that was sent last before the refused one.
    """
    answered = sorted((each.row.sent_s or 0.0, _took_s(each)) for each in exchanges if each.fate == "answered")
    ratios = []
    for each in exchanges:
        if each.fate == "rejected" and each.retry_after_s is not None:
            before = bisect_left(answered, (each.row.sent_s or 0.0,)) - 1
            if before >= 0:
                ratios.append(each.retry_after_s / max(answered[before][1], 1e-6))
    return ratios


def _took_s(exchange: Exchange) -> float:
    return (exchange.row.done_s or 0.0) - (exchange.row.sent_s or 0.0)


def _quantile(values: Sequence[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None
