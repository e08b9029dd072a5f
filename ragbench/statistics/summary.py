"""Records of one point -> its figures, their intervals and a verdict. Pure: no file, no clock.

METRICS (results/metrics.py) says what each figure is. What holds for several:

- the steady window leaves out the start, while queues fill, and the drain after the last arrival.
- latencies and send lags are of the requests due in the window, latencies from when each was due unless named
  otherwise. A request without an ok answer is infinitely late. Percentiles are by linear interpolation, never averaged;
  one that falls among such requests is absent, as is the maximum where there is one.
- means are over the ok answers due in the window. They are absent where the verdict is `failed` or `failing`, and where
  it would be `failing` but for another program's load.
- intervals are from within the point: of latencies by their autocorrelation, given where 50 independent answers lie
  beyond the percentile (latency_intervals.py); of throughput by block bootstrap.
- a figure that nothing was reported for is absent, as are rates where no request was scheduled.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ragbench.results.metrics import Source, Summary
from ragbench.results.records import NO_SCALING, ReplicaCount, Row, Sample, Scaling
from ragbench.results.slo import Slo
from ragbench.statistics.columns import Columns, Floats, Truths, Window, steady_window
from ragbench.statistics.in_flight import mean_in_flight, most_in_flight
from ragbench.statistics.intervals import bootstrap, mean
from ragbench.statistics.latency_intervals import independent_answers, latency_intervals
from ragbench.statistics.scaling import scaling_figures
from ragbench.statistics.verdicts import ERRORS, NO_MEANS, Evidence, failing, judge

_STAGES = ("queue_s", "embed_s", "retrieve_s", "generate_s")
_MEANS = ("latency_mean_s", "latency_from_sent_mean_s", *_STAGES, "unaccounted_s", "batch_size")
_MOST_SLICES = 500  # of the window, in which ended requests are counted
_SEED = 20_040_417  # of the resamples: the same rows give the same intervals
_Figures = dict[str, Any]


def summarise(  # noqa: PLR0913  each is another fact about a point
    rows: Sequence[Row],
    *,
    offered_rps: float | None,
    concurrency: int | None = None,
    duration_s: float | None = None,
    replicas: Sequence[ReplicaCount] = (),
    scaling: Scaling = NO_SCALING,
    step_up_s: float | None = None,
    telemetry: Sequence[Sample] = (),
    slo: Slo | None = None,
    failure: str | None = None,
    cores: float | None = None,
    same_answers: bool = False,
    source: Source = "measured",
) -> Summary:
    """The figures of one point: an open loop at `offered_rps`, or a closed loop of `concurrency` users.

    `failure`: why the point failed, where the harness knows; `cores`: how many of the machine's we may use;
    `step_up_s`: when the offered rate stepped up; `same_answers`: one text for all questions is no fault.
    """
    columns = Columns(rows)
    gap_s = 1 / offered_rps if offered_rps else 1.0
    length_s = duration_s if duration_s is not None else _span_s(columns.due_s, fallback=gap_s)
    window = steady_window(columns.due_s, duration_s=length_s)
    within = window.holds(columns.due_s)
    is_good = columns.is_ok & (columns.latency_s <= (slo.limit_s if slo else np.inf))
    cpu = {f"{user}_cpu_cores": _cpu_cores(telemetry, user, window) for user in ("client", "server", "other")}
    evidence = Evidence(
        columns,
        window,
        failure=failure,
        other_cpu_cores=cpu["other_cpu_cores"],
        cores=cores,
        is_closed=concurrency is not None,
        same_answers=same_answers,
    )
    verdict, reason = judge(evidence)
    figures = {
        **_counts(columns),
        **_rates(columns, window, is_good=is_good, gap_s=gap_s),
        **_latencies(columns, within),
        **_means(columns, within),
        "replicas": max((count.ready for count in replicas), default=1),
        **scaling_figures(
            replicas, scaling, duration_s=length_s, step_up_s=step_up_s, good=int(np.count_nonzero(is_good))
        ),
        **cpu,
    }
    if verdict in NO_MEANS or failing(evidence) is not None:
        figures |= dict.fromkeys((*_MEANS, "latency_mean_low_s", "latency_mean_high_s"))
    return Summary(
        source=source,
        verdict=verdict,
        verdict_reason=reason,
        duration_s=length_s,
        window_start_s=window.start_s,
        window_end_s=window.end_s,
        attainment=float(np.mean(is_good[within])) if within.any() else None,
        slo_met=slo.met(columns.latencies_of(within)) if slo and within.any() else None,
        **figures,
    )


def _counts(columns: Columns) -> _Figures:
    count, requests = columns.statuses, len(columns)
    return {
        "requests": requests,
        "completed": count["ok"],
        "rejected": count["rejected"],
        "timed_out": count["timeout"],
        "failed": sum(count[status] for status in ERRORS),
        "unsent": count["unsent"],
        "answered_share": count["ok"] / requests if requests else None,
        **{name: _mean(columns.column(name)[columns.is_ok]) for name in ("exact_match", "f1", "recall_at_k")},
    }


def _rates(columns: Columns, window: Window, *, is_good: Truths, gap_s: float) -> _Figures:
    starts, ends, edges = np.sort(columns.starts_s), columns.ends_s, np.array([window.start_s, window.end_s])
    has_ended = columns.is_ok & window.holds(columns.done_s)
    counted = {
        "due_rps": (columns.due_s >= window.start_s) & (columns.due_s < window.end_s),
        "throughput_rps": has_ended,
        "goodput_rps": has_ended & is_good,
    }
    slices = max(1, min(_MOST_SLICES, int(np.count_nonzero(has_ended))))
    ended, _ = np.histogram(columns.done_s[has_ended], slices, (window.start_s, window.end_s))
    interval = bootstrap(ended * (slices / window.length_s), mean, rng=np.random.default_rng(_SEED))
    return {
        "sent_rps": len(starts) / _span_s(starts, fallback=gap_s) if len(starts) else None,
        **{n: float(np.count_nonzero(c) / window.length_s) if len(columns) else None for n, c in counted.items()},
        "throughput_low_rps": max(0.0, interval.low) if interval else None,
        "throughput_high_rps": interval.high if interval else None,
        "in_flight_mean": float(mean_in_flight(starts, ends, edges)[0]) if len(starts) else None,
        "in_flight_max": most_in_flight(starts, ends, low=window.start_s, high=window.end_s),
    }


def _latencies(columns: Columns, within: Truths) -> _Figures:
    from_due_s = columns.latencies_of(within)
    from_sent_s = np.where(columns.is_ok, columns.done_s - columns.sent_s, np.inf)[within]
    figures: _Figures = {f"latency_p{percent}_s": percentile(from_due_s, percent) for percent in (50, 90, 95, 99)}
    absent = [name.split("_")[1] for name, value in figures.items() if value is None and from_due_s.size]
    verb = "falls" if len(absent) == 1 else "fall"
    unanswered = f"the {np.count_nonzero(np.isinf(from_due_s))} of {len(from_due_s)} requests that got no answer"
    for figure, interval in latency_intervals(from_due_s).items():
        for end in ("low", "high"):
            figures[f"latency_{figure}_{end}_s"] = getattr(interval, end) if interval else None
    return {
        **figures,
        "latency_mean_s": _mean(from_due_s[np.isfinite(from_due_s)]),
        "latency_max_s": percentile(from_due_s, 100),
        "latency_note": f"{', '.join(absent)} {verb} among {unanswered}" if absent else None,
        "independent_answers": independent_answers(from_due_s),
        "latency_from_sent_mean_s": _mean(from_sent_s[np.isfinite(from_due_s)]),
        **{f"latency_from_sent_p{percent}_s": percentile(from_sent_s, percent) for percent in (50, 95, 99)},
        **{f"send_lag_p{percent}_s": percentile(columns.send_lag_s[within], percent) for percent in (95, 99)},
    }


def _means(columns: Columns, within: Truths) -> _Figures:
    answered = within & columns.is_ok
    stages = np.column_stack([columns.column(name)[answered] for name in _STAGES])
    reports = ~np.isnan(stages).all(axis=1)
    from_sent_s = (columns.done_s - columns.sent_s)[answered]
    return {
        **{name: _mean(times_s) for name, times_s in zip(_STAGES, stages.T, strict=True)},
        "unaccounted_s": _mean(from_sent_s[reports] - np.nansum(stages[reports], axis=1)),
        "batch_size": _mean(columns.column("batch_size")[answered]),
    }


def _cpu_cores(samples: Sequence[Sample], user: str, window: Window) -> float | None:
    """Mean CPU use over the time from the window's start; over all of it where no sample came after that.

    A sample stands for the time since the sample before.
    """
    values = np.array([getattr(sample, f"{user}_cpu_cores") for sample in samples], dtype=np.float64)
    times_s = np.array([0.0, *(sample.t_s for sample in samples)])
    spans_s = np.diff(np.maximum(times_s, window.start_s))
    if not spans_s.any():
        spans_s = np.diff(times_s)
    known = ~np.isnan(values) & (spans_s > 0)
    return float(np.average(values[known], weights=spans_s[known])) if known.any() else None


def _span_s(times: Floats, *, fallback: float) -> float:
    """The time that n instants stand for: their mean gap x n. `fallback` seconds where there is no gap."""
    if len(times) < 2 or times[-1] <= times[0]:
        return fallback
    return float(times[-1] - times[0]) * len(times) / (len(times) - 1)


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if known.size else None


def percentile(values: Floats, percent: float) -> float | None:
    """By linear interpolation; absent where a value that it needs is infinite."""
    ordered = np.sort(values[~np.isnan(values)])
    if not ordered.size:
        return None
    place = round((len(ordered) - 1) * percent / 100, 9)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return float(low + (high - low) * (place % 1)) if np.isfinite(high) else None
