"""Records of one point -> its figures, their intervals and a verdict. Pure: no file, no clock.

Definitions, each per point:

- `duration_s`: how long the schedule stands for, `duration_s` where the study gives it, otherwise the mean gap between
  arrivals x their number.
- the steady window, `window_start_s` to `window_end_s`: from 10% of `duration_s` after the first due time to the last
  due time. It leaves out the start, while queues fill, and the drain after the last arrival.
- `requests`, `completed`, `rejected`, `timed_out`, `failed`, `unsent`: over the whole point; the last five add up to
  the first.
- `sent_rps`: requests sent / the time they were sent over, from gaps as for `duration_s`; over the whole point.
- `due_rps`: requests due in the window, less the one that ends it, / its length: what the schedule drew of the rate.
- `throughput_rps`: ok answers that ended in the window / its length. `goodput_rps`: of those, the ones within the
  SLO's limit for a request. Without an SLO the two are equal.
- `attainment`: requests due in the window that were ok and within that limit / all requests due in the window. A
  request that failed, was refused or never left counts below the line. `slo_met`: whether those requests keep the SLO.
- `answered_share`: ok answers / requests, of the whole point.
- latencies: of the requests due in the window, from when each was due, `latency_from_sent_...` from when it was sent. A
  request without an ok answer is infinitely late. Percentiles by linear interpolation, never averaged; one that falls
  among such requests is absent, as is the maximum where there is one, and `latency_note` says so.
- means (`latency_mean_s`, `latency_from_sent_mean_s`, stages, `batch_size`): over the ok answers due in the window;
  absent where the verdict is `failed` or `failing`, or would be but for the machine. Send lags: over all requests due
  in the window that were sent.
- `independent_answers`: how many independent answers the requests due in the window are worth.
- `..._low_...`, `..._high_...`: 95% intervals from within the point: of latencies by their autocorrelation, given where
  50 independent answers lie beyond the percentile (`latency_intervals.py`); of throughput by block bootstrap.
- `in_flight_mean`, `in_flight_max`: requests sent and not ended, over the window.
- `unaccounted_s`: mean of (latency from sent - the four stages) over answers that report stages.
- `exact_match`, `f1`, `recall_at_k`: means over all ok answers that report them.
- `replica_seconds`: replicas that were ready, starting or draining, integrated over `duration_s`;
  `replica_s_per_1000_good`: those for 1,000 ok answers within the SLO's limit, of the whole point.
- `reaction_s`, `capacity_s`: where the offered rate steps up, from that moment to the first decision that asks for more
  replicas, and to when as many were ready as ever in the point.
- `cold_start_s`: mean time from being started to ready, of the replicas that became ready in the point.
- `reversals_per_min`: how often per minute the autoscaler's changes turned from up to down or back.
- `..._cpu_cores`: means over time of the samples of telemetry from the window's start.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ragbench.results.records import NOTHING_TOLD, ReplicaCount, Row, Sample, Scaling
from ragbench.results.slo import Slo
from ragbench.results.verdict_names import Source, Verdict
from ragbench.statistics.columns import Columns, Floats, Truths, Window, steady_window
from ragbench.statistics.in_flight import mean_in_flight, most_in_flight
from ragbench.statistics.intervals import Interval, bootstrap
from ragbench.statistics.latency_intervals import independent_answers, latency_intervals
from ragbench.statistics.scaling import scaling_figures
from ragbench.statistics.verdicts import ERRORS, NO_MEANS, Evidence, is_failing, judge

_MOST_SLICES = 500  # of the window, in which ended requests are counted
_STAGES = ("queue_s", "embed_s", "retrieve_s", "generate_s")
_SEED = 20_040_417  # of the resamples: the same rows give the same intervals


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one point, in the order of the columns of summary.csv. Absent figures are None."""

    source: Source
    verdict: Verdict
    verdict_reason: str
    requests: int
    completed: int
    rejected: int
    timed_out: int
    failed: int
    unsent: int
    answered_share: float | None
    duration_s: float
    window_start_s: float
    window_end_s: float
    sent_rps: float | None
    due_rps: float | None
    throughput_rps: float | None
    throughput_low_rps: float | None
    throughput_high_rps: float | None
    goodput_rps: float | None
    attainment: float | None
    slo_met: bool | None
    latency_mean_s: float | None
    latency_mean_low_s: float | None
    latency_mean_high_s: float | None
    latency_p50_s: float | None
    latency_p50_low_s: float | None
    latency_p50_high_s: float | None
    latency_p90_s: float | None
    latency_p95_s: float | None
    latency_p95_low_s: float | None
    latency_p95_high_s: float | None
    latency_p99_s: float | None
    latency_p99_low_s: float | None
    latency_p99_high_s: float | None
    latency_max_s: float | None
    latency_note: str | None
    independent_answers: float | None
    latency_from_sent_mean_s: float | None
    latency_from_sent_p50_s: float | None
    latency_from_sent_p95_s: float | None
    latency_from_sent_p99_s: float | None
    send_lag_p95_s: float | None
    send_lag_p99_s: float | None
    in_flight_mean: float | None
    in_flight_max: int
    queue_s: float | None
    embed_s: float | None
    retrieve_s: float | None
    generate_s: float | None
    unaccounted_s: float | None
    batch_size: float | None
    replicas: int
    exact_match: float | None
    f1: float | None
    recall_at_k: float | None
    replica_seconds: float | None
    replica_s_per_1000_good: float | None
    reaction_s: float | None
    capacity_s: float | None
    cold_start_s: float | None
    reversals_per_min: float | None
    client_cpu_cores: float | None
    server_cpu_cores: float | None
    other_cpu_cores: float | None


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
    fallback_s = 1 / offered_rps if offered_rps else 1.0
    length_s = duration_s if duration_s is not None else _span_s(columns.due_s, fallback=fallback_s)
    window = steady_window(columns.due_s, duration_s=length_s)
    cpu = {name: _sampled(telemetry, name, window) for name in ("client", "server", "other")}
    evidence = Evidence(
        columns,
        window,
        failure=failure,
        other_cpu_cores=cpu["other"],
        cores=cores,
        is_closed=concurrency is not None,
        same_answers=same_answers,
    )
    verdict, reason = judge(evidence)
    has_means = verdict not in NO_MEANS and not is_failing(evidence)
    within = window.holds(columns.due_s)
    limit_s = slo.limit_s if slo else np.inf
    good = int(np.count_nonzero(columns.is_ok & (columns.latency_s <= limit_s)))
    return Summary(
        source=source,
        verdict=verdict,
        verdict_reason=reason,
        duration_s=length_s,
        window_start_s=window.start_s,
        window_end_s=window.end_s,
        replicas=max((count.ready for count in replicas), default=1),
        client_cpu_cores=cpu["client"],
        server_cpu_cores=cpu["server"],
        other_cpu_cores=cpu["other"],
        **_counts(columns),
        **_rates(columns, window, limit_s=limit_s, fallback_s=fallback_s),
        **_promises(columns, within, slo),
        **_latencies(columns, within, has_means=has_means),
        **_queue(columns, window),
        **_stages(columns, within, has_means=has_means),
        **_quality(columns),
        **scaling_figures(replicas, scaling, duration_s=length_s, good=good, step_up_s=step_up_s),
    )


def _counts(columns: Columns) -> dict[str, Any]:
    """How every request ended."""
    count = columns.statuses
    return {
        "requests": len(columns),
        "completed": count["ok"],
        "rejected": count["rejected"],
        "timed_out": count["timeout"],
        "failed": sum(count[status] for status in ERRORS),
        "unsent": count["unsent"],
        "answered_share": count["ok"] / len(columns) if len(columns) else None,
    }


def _rates(columns: Columns, window: Window, *, limit_s: float, fallback_s: float) -> dict[str, Any]:
    """Requests per second: sent, due, answered, answered in time. Absent where none was scheduled."""
    if not len(columns):
        names = ("sent_rps", "due_rps", "throughput_rps", "throughput_low_rps", "throughput_high_rps", "goodput_rps")
        return dict.fromkeys(names)
    sent = np.sort(columns.starts_s)
    due = (columns.due_s >= window.start_s) & (columns.due_s < window.end_s)
    ended = columns.is_ok & window.holds(columns.done_s)
    interval = _rate_interval(columns.done_s[ended], window)
    return {
        "sent_rps": len(sent) / _span_s(sent, fallback=fallback_s) if len(sent) else None,
        "due_rps": float(np.count_nonzero(due) / window.length_s),
        "throughput_rps": float(np.count_nonzero(ended) / window.length_s),
        "throughput_low_rps": interval.low if interval else None,
        "throughput_high_rps": interval.high if interval else None,
        "goodput_rps": float(np.count_nonzero(ended & (columns.latency_s <= limit_s)) / window.length_s),
    }


def _rate_interval(ends_s: Floats, window: Window) -> Interval | None:
    """Of the number that ended per second, from the numbers in equal slices of the window."""
    slices = min(_MOST_SLICES, len(ends_s))
    if not slices:
        return None
    counts, _ = np.histogram(ends_s, bins=slices, range=(window.start_s, window.end_s))
    rates = counts * (slices / window.length_s)
    found = bootstrap(rates.astype(np.float64), lambda drawn: drawn.mean(axis=1), rng=np.random.default_rng(_SEED))
    return Interval(max(0.0, found.low), found.high) if found else None


def _promises(columns: Columns, within: Truths, slo: Slo | None) -> dict[str, Any]:
    """Of the requests due in the window, the share answered in time, and whether the SLO was kept."""
    latencies = np.where(columns.is_ok, columns.latency_s, np.inf)[within]
    if not latencies.size:
        return {"attainment": None, "slo_met": None}
    in_time = np.isfinite(latencies) & (latencies <= (slo.limit_s if slo else np.inf))
    return {"attainment": float(np.mean(in_time)), "slo_met": slo.met(latencies) if slo else None}


def _latencies(columns: Columns, within: Truths, *, has_means: bool) -> dict[str, Any]:
    """From due, with their intervals, and from sent; and how late requests left."""
    from_due, from_sent = (
        _with_unanswered(columns, values)[within] for values in (columns.latency_s, columns.from_sent_s)
    )
    answered = np.isfinite(from_due)
    percentiles = {f"latency_p{p}_s": _percentile(from_due, p) for p in (50, 90, 95, 99)}
    figures = {
        "latency_mean_s": _mean(from_due[answered]) if has_means else None,
        "latency_max_s": _percentile(from_due, 100),
        "latency_note": _note(percentiles, from_due),
        "latency_from_sent_mean_s": _mean(from_sent[answered]) if has_means else None,
        **percentiles,
        **{f"latency_from_sent_p{p}_s": _percentile(from_sent, p) for p in (50, 95, 99)},
        **{f"send_lag_p{p}_s": _percentile(columns.send_lag_s[within], p) for p in (95, 99)},
    }
    return figures | _latency_intervals(from_due, has_mean=has_means)


def _with_unanswered(columns: Columns, values_s: Floats) -> Floats:
    """The latencies of all requests, infinite for one that got no ok answer."""
    return np.where(columns.is_ok, values_s, np.inf)


def _note(percentiles: dict[str, float | None], latencies_s: Floats) -> str | None:
    """Why percentiles are absent of a point in which requests were due."""
    absent = [name.removeprefix("latency_").removesuffix("_s") for name, value in percentiles.items() if value is None]
    if not absent or not latencies_s.size:
        return None
    unanswered = int(np.count_nonzero(np.isinf(latencies_s)))
    verb = "falls" if len(absent) == 1 else "fall"
    return f"{', '.join(absent)} {verb} among the {unanswered} of {len(latencies_s)} requests that got no answer"


def _latency_intervals(latencies_s: Floats, *, has_mean: bool) -> dict[str, Any]:
    """Of the mean of the answered and of the percentiles of all, and how many independent answers they rest on."""
    told: dict[str, Any] = {"independent_answers": independent_answers(latencies_s)}
    for figure, found in latency_intervals(latencies_s).items():
        interval = found if has_mean or figure != "mean" else None
        told[f"latency_{figure}_low_s"] = interval.low if interval else None
        told[f"latency_{figure}_high_s"] = interval.high if interval else None
    return told


def _queue(columns: Columns, window: Window) -> dict[str, Any]:
    """Requests under way."""
    starts, ends = columns.starts_s, columns.ends_s
    mean = float(mean_in_flight(starts, ends, np.array([window.start_s, window.end_s]))[0])
    return {
        "in_flight_mean": mean if len(starts) else None,
        "in_flight_max": most_in_flight(starts, ends, low=window.start_s, high=window.end_s),
    }


def _stages(columns: Columns, within: Truths, *, has_means: bool) -> dict[str, Any]:
    """Where the time went."""
    if not has_means:
        return dict.fromkeys((*_STAGES, "unaccounted_s", "batch_size"))
    answered = within & columns.is_ok
    stages = {name: columns.column(name)[answered] for name in _STAGES}
    told = np.column_stack(list(stages.values()))
    reports = ~np.isnan(told).all(axis=1)
    rest = columns.from_sent_s[answered][reports] - np.nansum(told[reports], axis=1)
    return {
        **{name: _mean(values) for name, values in stages.items()},
        "unaccounted_s": _mean(rest),
        "batch_size": _mean(columns.column("batch_size")[answered]),
    }


def _quality(columns: Columns) -> dict[str, Any]:
    """What the answers were worth."""
    return {
        "exact_match": _mean(columns.column("exact_match")[columns.is_ok]),
        "f1": _mean(columns.column("f1")[columns.is_ok]),
        "recall_at_k": _mean(columns.column("recall_at_k")[columns.is_ok]),
    }


def _sampled(samples: Sequence[Sample], whose: str, window: Window) -> float | None:
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


def _mean(values: Floats) -> float | None:
    return _figure(values, lambda known: float(np.mean(known)))


def _percentile(values: Floats, percent: float) -> float | None:
    """By linear interpolation; absent where a value that it needs is infinite."""
    ordered = np.sort(values[~np.isnan(values)])
    if not ordered.size:
        return None
    place = round((len(ordered) - 1) * percent / 100, 9)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return float(low + (high - low) * (place % 1)) if np.isfinite(high) else None


def _figure(values: Floats, figure: Callable[[Floats], float]) -> float | None:
    known = values[~np.isnan(values)]
    return figure(known) if known.size else None
