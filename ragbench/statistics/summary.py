"""Records of one point -> its figures, their intervals and a verdict. Pure: no file, no clock.

What each figure is says METRICS (results/metrics.py), how it is computed COMPUTED. What holds for several:

- the steady window leaves out the start, while queues fill, and the drain after the last arrival.
- latencies and send lags are of the requests due in the window, latencies from when each was due unless named
  otherwise. A request without an ok answer is infinitely late. Percentiles are by linear interpolation, never averaged;
  one that falls among such requests is absent, as is the maximum where there is one.
- means are over the ok answers due in the window; absent where the verdict is `failed` or `failing`, or would be but
  for the machine.
- intervals are from within the point: of latencies by their autocorrelation, given where 50 independent answers lie
  beyond the percentile (latency_intervals.py); of throughput by block bootstrap.
- a figure that nothing was reported for is absent, as are rates where no request was scheduled.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import make_dataclass
from typing import Any, Literal

import numpy as np

from ragbench.results.metrics import FIGURES, Source
from ragbench.results.records import NOTHING_TOLD, ReplicaCount, Row, Sample, Scaling
from ragbench.results.slo import Slo
from ragbench.statistics.columns import Columns, Floats, Truths, Window, steady_window
from ragbench.statistics.in_flight import mean_in_flight, most_in_flight
from ragbench.statistics.intervals import Interval
from ragbench.statistics.latency_intervals import independent_answers
from ragbench.statistics.observation import Observation
from ragbench.statistics.scaling import capacity_s, cold_start_s, reaction_s, replica_seconds, reversals_per_min
from ragbench.statistics.verdicts import ERRORS, NO_MEANS, Evidence, is_failing, judge

_STAGES = ("queue_s", "embed_s", "retrieve_s", "generate_s")

_Figures: Any = make_dataclass("_Figures", [(metric.name, Any) for metric in FIGURES], frozen=True, slots=True)


class Summary(_Figures):
    """The figures of one point: a field for each of FIGURES, in their order. Absent ones are None."""

    __slots__ = ()


def summarise(  # noqa: PLR0913  each is something else that is known of a point
    rows: Sequence[Row],
    *,
    offered_rps: float | None,
    concurrency: int | None = None,
    duration_s: float | None = None,
    replicas: Sequence[ReplicaCount] = (),
    scaling: Scaling = NOTHING_TOLD,
    step_up_s: float | None = None,
    telemetry: Sequence[Sample] = (),
    slo: Slo | None = None,
    failure: str | None = None,
    cores: float | None = None,
    same_answers: bool = False,
    source: Source = "measured",
) -> Summary:
    """The figures of one point: an open loop at `offered_rps`, or a closed one of `concurrency` users.

    `failure` says why the point failed, where the harness already knows it; `cores` how many the machine lends us;
    `step_up_s` when the offered rate stepped up, where it did; `same_answers` that one text for all is no fault.
    """
    columns = Columns.of(rows)
    gap_s = 1 / offered_rps if offered_rps else 1.0
    length_s = duration_s if duration_s is not None else _span_s(columns.due_s, fallback=gap_s)
    window = steady_window(columns.due_s, duration_s=length_s)
    evidence = Evidence(
        columns,
        window,
        failure=failure,
        other_cpu_cores=_cpu_cores(telemetry, "other", window),
        cores=cores,
        is_closed=concurrency is not None,
        same_answers=same_answers,
    )
    verdict, reason = judge(evidence)
    seen = Observation(
        columns=columns,
        window=window,
        duration_s=length_s,
        gap_s=gap_s,
        source=source,
        verdict=verdict,
        verdict_reason=reason,
        has_means=verdict not in NO_MEANS and not is_failing(evidence),
        slo=slo,
        replicas=replicas,
        scaling=scaling,
        step_up_s=step_up_s,
        telemetry=telemetry,
    )
    return Summary(**{name: how(seen) for name, how in COMPUTED.items()})


def _sent_rps(seen: Observation) -> float | None:
    sent = np.sort(seen.columns.starts_s)
    return len(sent) / _span_s(sent, fallback=seen.gap_s) if len(sent) else None


def _due_rps(seen: Observation) -> float | None:
    due_s = seen.columns.due_s
    return _per_s(seen, (due_s >= seen.window.start_s) & (due_s < seen.window.end_s))


def _per_s(seen: Observation, which: Truths) -> float | None:
    return None if seen.is_empty else float(np.count_nonzero(which) / seen.window.length_s)


def _attainment(seen: Observation) -> float | None:
    return float(np.mean(seen.in_time[seen.within])) if seen.within.any() else None


def _slo_met(seen: Observation) -> bool | None:
    return seen.slo.met(seen.from_due_s) if seen.slo and seen.within.any() else None


def _latency_note(seen: Observation) -> str | None:
    """Why percentiles are absent of a point in which requests were due."""
    absent = [f"p{percent}" for percent in (50, 90, 95, 99) if _percentile(seen.from_due_s, percent) is None]
    if not absent or not seen.from_due_s.size:
        return None
    unanswered = int(np.count_nonzero(np.isinf(seen.from_due_s)))
    verb = "falls" if len(absent) == 1 else "fall"
    return f"{', '.join(absent)} {verb} among the {unanswered} of {len(seen.from_due_s)} requests that got no answer"


def _in_flight_mean(seen: Observation) -> float | None:
    starts, ends = seen.columns.starts_s, seen.columns.ends_s
    mean = float(mean_in_flight(starts, ends, np.array([seen.window.start_s, seen.window.end_s]))[0])
    return mean if len(starts) else None


def _in_flight_max(seen: Observation) -> int:
    window = seen.window
    return most_in_flight(seen.columns.starts_s, seen.columns.ends_s, low=window.start_s, high=window.end_s)


def _unaccounted_s(seen: Observation) -> float | None:
    stages = np.column_stack([seen.answered(name) for name in _STAGES])
    reports = ~np.isnan(stages).all(axis=1)
    latencies_s = seen.columns.from_sent_s[seen.within & seen.columns.is_ok]
    return _mean_of(seen, latencies_s[reports] - np.nansum(stages[reports], axis=1))


def _replica_s_per_1000_good(seen: Observation) -> float | None:
    paid, good = replica_seconds(seen.replicas, duration_s=seen.duration_s), int(np.count_nonzero(seen.in_time))
    return None if paid is None or not good else 1000 * paid / good


def _cpu_cores(samples: Sequence[Sample], whose: str, window: Window) -> float | None:
    """Mean CPU use over the time from the window's start; over all of it where no sample came after that.

    A sample stands for the time since the one before.
    """
    values = np.array([getattr(sample, f"{whose}_cpu_cores") for sample in samples], dtype=np.float64)
    times_s = np.array([0.0, *(sample.t_s for sample in samples)])
    spans_s = np.diff(np.maximum(times_s, window.start_s))
    if not spans_s.any():
        spans_s = np.diff(times_s)
    known = ~np.isnan(values) & (spans_s > 0)
    return float(np.average(values[known], weights=spans_s[known])) if known.any() else None


def _span_s(times: Floats, *, fallback: float) -> float:
    """How long n instants stand for: their mean gap x n. `fallback` seconds where there is no gap."""
    if len(times) < 2 or times[-1] <= times[0]:
        return fallback
    return float(times[-1] - times[0]) * len(times) / (len(times) - 1)


def _mean_of(seen: Observation, values: Floats) -> float | None:
    return _mean(values) if seen.has_means else None


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if known.size else None


def _percentile(values: Floats, percent: float) -> float | None:
    """By linear interpolation; absent where a value that it needs is infinite."""
    ordered = np.sort(values[~np.isnan(values)])
    if not ordered.size:
        return None
    place = round((len(ordered) - 1) * percent / 100, 9)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return float(low + (high - low) * (place % 1)) if np.isfinite(high) else None


def _end(interval: Interval | None, end: Literal["low", "high"]) -> float | None:
    return getattr(interval, end) if interval else None


COMPUTED: Mapping[str, Callable[[Observation], Any]] = {
    "source": lambda seen: seen.source,
    "verdict": lambda seen: seen.verdict,
    "verdict_reason": lambda seen: seen.verdict_reason,
    "requests": lambda seen: len(seen.columns),
    "completed": lambda seen: seen.count("ok"),
    "rejected": lambda seen: seen.count("rejected"),
    "timed_out": lambda seen: seen.count("timeout"),
    "failed": lambda seen: seen.count(*ERRORS),
    "unsent": lambda seen: seen.count("unsent"),
    "answered_share": lambda seen: None if seen.is_empty else seen.count("ok") / len(seen.columns),
    "duration_s": lambda seen: seen.duration_s,
    "window_start_s": lambda seen: seen.window.start_s,
    "window_end_s": lambda seen: seen.window.end_s,
    "sent_rps": _sent_rps,
    "due_rps": _due_rps,
    "throughput_rps": lambda seen: _per_s(seen, seen.ended),
    "throughput_low_rps": lambda seen: _end(seen.throughput_interval, "low"),
    "throughput_high_rps": lambda seen: _end(seen.throughput_interval, "high"),
    "goodput_rps": lambda seen: _per_s(seen, seen.ended & seen.in_time),
    "attainment": _attainment,
    "slo_met": _slo_met,
    "latency_mean_s": lambda seen: _mean_of(seen, seen.from_due_s[seen.is_answered]),
    "latency_mean_low_s": lambda seen: _end(seen.latency_intervals["mean"], "low"),
    "latency_mean_high_s": lambda seen: _end(seen.latency_intervals["mean"], "high"),
    "latency_p50_s": lambda seen: _percentile(seen.from_due_s, 50),
    "latency_p50_low_s": lambda seen: _end(seen.latency_intervals["p50"], "low"),
    "latency_p50_high_s": lambda seen: _end(seen.latency_intervals["p50"], "high"),
    "latency_p90_s": lambda seen: _percentile(seen.from_due_s, 90),
    "latency_p95_s": lambda seen: _percentile(seen.from_due_s, 95),
    "latency_p95_low_s": lambda seen: _end(seen.latency_intervals["p95"], "low"),
    "latency_p95_high_s": lambda seen: _end(seen.latency_intervals["p95"], "high"),
    "latency_p99_s": lambda seen: _percentile(seen.from_due_s, 99),
    "latency_p99_low_s": lambda seen: _end(seen.latency_intervals["p99"], "low"),
    "latency_p99_high_s": lambda seen: _end(seen.latency_intervals["p99"], "high"),
    "latency_max_s": lambda seen: _percentile(seen.from_due_s, 100),
    "latency_note": _latency_note,
    "independent_answers": lambda seen: independent_answers(seen.from_due_s),
    "latency_from_sent_mean_s": lambda seen: _mean_of(seen, seen.from_sent_s[seen.is_answered]),
    "latency_from_sent_p50_s": lambda seen: _percentile(seen.from_sent_s, 50),
    "latency_from_sent_p95_s": lambda seen: _percentile(seen.from_sent_s, 95),
    "latency_from_sent_p99_s": lambda seen: _percentile(seen.from_sent_s, 99),
    "send_lag_p95_s": lambda seen: _percentile(seen.columns.send_lag_s[seen.within], 95),
    "send_lag_p99_s": lambda seen: _percentile(seen.columns.send_lag_s[seen.within], 99),
    "in_flight_mean": _in_flight_mean,
    "in_flight_max": _in_flight_max,
    "queue_s": lambda seen: _mean_of(seen, seen.answered("queue_s")),
    "embed_s": lambda seen: _mean_of(seen, seen.answered("embed_s")),
    "retrieve_s": lambda seen: _mean_of(seen, seen.answered("retrieve_s")),
    "generate_s": lambda seen: _mean_of(seen, seen.answered("generate_s")),
    "unaccounted_s": _unaccounted_s,
    "batch_size": lambda seen: _mean_of(seen, seen.answered("batch_size")),
    "replicas": lambda seen: max((count.ready for count in seen.replicas), default=1),
    "exact_match": lambda seen: _mean(seen.columns.column("exact_match")[seen.columns.is_ok]),
    "f1": lambda seen: _mean(seen.columns.column("f1")[seen.columns.is_ok]),
    "recall_at_k": lambda seen: _mean(seen.columns.column("recall_at_k")[seen.columns.is_ok]),
    "replica_seconds": lambda seen: replica_seconds(seen.replicas, duration_s=seen.duration_s),
    "replica_s_per_1000_good": _replica_s_per_1000_good,
    "reaction_s": lambda seen: reaction_s(seen.scaling.decisions, since_s=seen.step_up_s),
    "capacity_s": lambda seen: capacity_s(seen.replicas, since_s=seen.step_up_s),
    "cold_start_s": lambda seen: cold_start_s(seen.scaling.starts),
    "reversals_per_min": lambda seen: reversals_per_min(seen.scaling.decisions, duration_s=seen.duration_s),
    "client_cpu_cores": lambda seen: _cpu_cores(seen.telemetry, "client", seen.window),
    "server_cpu_cores": lambda seen: _cpu_cores(seen.telemetry, "server", seen.window),
    "other_cpu_cores": lambda seen: _cpu_cores(seen.telemetry, "other", seen.window),
}
