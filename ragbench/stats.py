"""Records of one point -> its figures and a verdict on whether they can be quoted. Pure: no file, no clock.

Definitions, each per point:

- `duration_s`: how long the schedule stands for, `duration_s` where the study gives it, otherwise the mean gap between
  arrivals x their number.
- `sent_rps`: requests sent / the time they were sent over, from gaps in the same way.
- `throughput_rps`: ok answers / (last end of any request - first due time).
- `goodput_rps`: ok answers / the longer of `duration_s` and the time that `throughput_rps` covers. Every ok answer came
  within the timeout. A request that failed, was refused or never left adds nothing above the line but its time below
  it. A backlog worked off after the last arrival is not counted as if it had been served while the load lasted.
- latencies: over ok answers, from when each was due; percentiles by linear interpolation.
- stage times, `batch_size`, `exact_match`, `recall_at_k`: means over ok answers that report them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ragbench.records import ReplicaCount, Row

Verdict = Literal["valid", "client_limited", "saturated", "failed"]
Floats = NDArray[np.float64]

LATE_S = 0.005  # a send this late is the client's fault where it exceeds LATE_SHARE of the median latency as well
LATE_SHARE = 0.01
BLOCKS = 10
FEWEST_TO_JUDGE = 40  # four requests in each block
GROWN_SHARE = 0.05  # of the scheduled requests, gained in flight over the point
GROWN_LEAST = 4.0
STILL_GROWING = 0.3  # slope of the second half over the slope of the whole
TIMED_OUT_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one point, in the order of the columns of summary.csv. Absent figures are None."""

    verdict: Verdict
    verdict_reason: str
    requests: int
    completed: int
    rejected: int
    timed_out: int
    failed: int
    unsent: int
    duration_s: float
    sent_rps: float | None
    throughput_rps: float
    goodput_rps: float
    latency_mean_s: float | None
    latency_p50_s: float | None
    latency_p90_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    latency_max_s: float | None
    send_lag_p99_s: float | None
    queue_s: float | None
    embed_s: float | None
    retrieve_s: float | None
    generate_s: float | None
    batch_size: float | None
    replicas: int
    exact_match: float | None
    recall_at_k: float | None


def summarise(
    rows: Sequence[Row],
    *,
    offered_rps: float,
    duration_s: float | None = None,
    replicas: Sequence[ReplicaCount] = (),
    failure: str | None = None,
) -> Summary:
    """The figures of one point. `failure` says why the point failed, where the harness already knows it."""
    ok = [row for row in rows if row.status == "ok"]
    latencies = _present(row.latency_s for row in ok)
    count = {status: sum(row.status == status for row in rows) for status in {row.status for row in rows}}
    length_s = duration_s if duration_s is not None else _span_s([row.due_s for row in rows], fallback=1 / offered_rps)
    sent = sorted(_present(row.sent_s for row in rows))
    over_s = max(_present(row.done_s for row in rows), default=0.0) - min((row.due_s for row in rows), default=0.0)
    verdict, reason = judge(rows, failure=failure)
    return Summary(
        verdict=verdict,
        verdict_reason=reason,
        requests=len(rows),
        completed=len(ok),
        rejected=count.get("rejected", 0),
        timed_out=count.get("timeout", 0),
        failed=sum(count.get(status, 0) for status in ("http_error", "connection_error", "bad_answer")),
        unsent=count.get("unsent", 0),
        duration_s=length_s,
        sent_rps=len(sent) / _span_s(sent, fallback=1 / offered_rps) if sent else None,
        throughput_rps=len(ok) / over_s if over_s > 0 else 0.0,
        goodput_rps=len(ok) / max(length_s, over_s),
        latency_mean_s=_mean(latencies),
        latency_p50_s=_percentile(latencies, 50),
        latency_p90_s=_percentile(latencies, 90),
        latency_p95_s=_percentile(latencies, 95),
        latency_p99_s=_percentile(latencies, 99),
        latency_max_s=_percentile(latencies, 100),
        send_lag_p99_s=_percentile(_present(row.send_lag_s for row in rows), 99),
        queue_s=_mean(_present(row.queue_s for row in ok)),
        embed_s=_mean(_present(row.embed_s for row in ok)),
        retrieve_s=_mean(_present(row.retrieve_s for row in ok)),
        generate_s=_mean(_present(row.generate_s for row in ok)),
        batch_size=_mean(_present(row.batch_size for row in ok)),
        replicas=max((count.ready for count in replicas), default=1),
        exact_match=_mean(_present(row.exact_match for row in ok)),
        recall_at_k=_mean(_present(row.recall_at_k for row in ok)),
    )


def judge(rows: Sequence[Row], *, failure: str | None = None) -> tuple[Verdict, str]:
    """A verdict and its reason in a short sentence; the first rule that applies decides.

    - `failed`: the server died or never answered (`failure`), or no request got an ok answer.
    - `client_limited`: a request was never sent, or the 95th percentile of send lag exceeds both 5 ms and 1% of the
      median latency.
    - `saturated`: 5% or more timed out (taking requests out hides the growth), or in-flight and latency both `growing`.
    - `valid`: none of these.
    """
    ok = [row for row in rows if row.status == "ok"]
    if failure is not None:
        return "failed", failure
    if not ok:
        return "failed", _nothing_ok(rows)
    late = _client_fault(rows, ok)
    return ("client_limited", late) if late else _growth(rows)


def _growth(rows: Sequence[Row]) -> tuple[Verdict, str]:
    """`saturated` or `valid`."""
    timed_out = sum(row.status == "timeout" for row in rows)
    if timed_out >= TIMED_OUT_SHARE * len(rows):
        return "saturated", f"{timed_out} of {len(rows)} requests timed out"
    if len(rows) < FEWEST_TO_JUDGE:
        return "valid", f"sent on time; {len(rows)} requests are too few to judge growth"
    in_flight, latency = _blocks(rows)
    gained = max(GROWN_LEAST, GROWN_SHARE * len(rows))
    if growing(in_flight, by=gained) and growing(latency, by=0.5 * float(np.min(latency))):
        return "saturated", (
            f"to the end, in-flight grew from {in_flight[0]:.0f} to {in_flight[-1]:.0f} "
            f"and latency from {latency[0]:.3g} to {latency[-1]:.3g} s"
        )
    rejected = sum(row.status == "rejected" for row in rows)
    return "valid", "sent on time; no growth to the end" + (
        f"; {rejected / len(rows):.0%} rejected" if rejected else ""
    )


def growing(values: Floats, *, by: float) -> bool:
    """Whether a series over equal blocks of a point rises by more than `by` and still rises at its end.

    Both slopes are medians of all pairwise slopes, which a few odd blocks do not move. The slope over the whole must
    add up to more than `by`, and the slope of the second half must be at least 0.3 of it: a queue that fills and then
    levels off has a high first slope and a flat second half.
    """
    whole, second_half = _slope(values), _slope(values[len(values) // 2 :])
    return whole * (len(values) - 1) > by and second_half >= STILL_GROWING * whole


def _slope(values: Floats) -> float:
    """Theil-Sen slope per step: the median over all pairs (Sen, 1968)."""
    first, second = np.triu_indices(len(values), k=1)
    return float(np.median((values[second] - values[first]) / (second - first)))


def _blocks(rows: Sequence[Row]) -> tuple[Floats, Floats]:
    """Mean in-flight and median latency over BLOCKS equal runs of requests in due order; each (BLOCKS,).

    In-flight at a due time counts the requests due by then and not yet over, that one included.
    """
    ordered = sorted((row for row in rows if row.done_s is not None), key=lambda row: row.due_s)
    due = np.array([row.due_s for row in ordered])
    done = np.array([row.done_s for row in ordered], dtype=np.float64)
    in_flight = np.arange(1, len(due) + 1) - np.searchsorted(np.sort(done), due, side="right")
    parts = np.array_split(np.arange(len(due)), BLOCKS)
    return (
        np.array([np.mean(in_flight[part]) for part in parts]),
        np.array([np.median(done[part] - due[part]) for part in parts]),
    )


def _client_fault(rows: Sequence[Row], ok: Sequence[Row]) -> str | None:
    unsent = sum(row.status == "unsent" for row in rows)
    if unsent:
        return f"{unsent} of {len(rows)} requests were never sent"
    lag_s = _percentile(_present(row.send_lag_s for row in rows), 95) or 0.0
    median_s = _percentile(_present(row.latency_s for row in ok), 50) or 0.0
    if lag_s > max(LATE_S, LATE_SHARE * median_s):
        return f"one in twenty requests left {lag_s * 1000:.1f} ms late or more"
    return None


def _nothing_ok(rows: Sequence[Row]) -> str:
    if not rows:
        return "nothing was scheduled"
    first = next((row.error for row in rows if row.error), "no reason given")
    return f"none of {len(rows)} requests got an ok answer; the first: {first}"


def _span_s(times: Sequence[float], *, fallback: float) -> float:
    """How long n instants stand for: their mean gap x n. `fallback` seconds where there is no gap."""
    if len(times) < 2 or times[-1] <= times[0]:
        return fallback
    return (times[-1] - times[0]) * len(times) / (len(times) - 1)


def _present(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None
