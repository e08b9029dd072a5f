"""METRICS, the table of figures: an entry per column of summary.csv; and the names of verdicts. Computes nothing.

It lies below statistics, because manifests are checked and SLOs are named by it. statistics/summary.py computes the
figures of Summary.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, get_args

Verdict = Literal["failed", "contaminated", "client_limited", "failing", "saturated", "shedding", "valid"]
Source = Literal["measured", "simulated"]
VERDICTS: tuple[str, ...] = get_args(Verdict)  # when each is given is in statistics/verdicts.py
Kind = Literal["text", "count", "whole", "truth", "real"]
Real = float | None

_RPS = "requests per second"
_KINDS: Mapping[Any, Kind] = {int: "count", bool | None: "truth", float: "real", Real: "real"}


@dataclass(frozen=True, slots=True)
class Metric:
    """A column. `uses`: whether `ragbench compare` compares it, and an SLO may limit it; `percentile`: which one."""

    unit: str
    what: str
    kind: Kind = "real"
    uses: Literal["", "compare", "SLO", "compare, SLO"] = ""
    percentile: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of one point, in the order of summary.csv; None where absent."""

    source: Annotated[Source, Metric("", "`measured` or `simulated`")]
    verdict: Annotated[Verdict, Metric("", "whether the figures can be quoted")]
    verdict_reason: Annotated[str, Metric("", "why that is the verdict")]
    requests: Annotated[int, Metric("requests", "all that were scheduled: the next five together")]
    completed: Annotated[int, Metric("requests", "`ok`")]
    rejected: Annotated[int, Metric("requests", "`rejected`")]
    timed_out: Annotated[int, Metric("requests", "`timeout`")]
    failed: Annotated[int, Metric("requests", "ended by any other error")]
    unsent: Annotated[int, Metric("requests", "`unsent`")]
    answered_share: Annotated[Real, Metric("share", "`completed` / `requests`")]
    duration_s: Annotated[float, Metric("seconds", "of the schedule: as given, else the mean gap x the arrivals")]
    window_start_s: Annotated[float, Metric("seconds", "of the steady window: first due time + 10% of `duration_s`")]
    window_end_s: Annotated[float, Metric("seconds", "of the steady window: the last due time")]
    sent_rps: Annotated[Real, Metric(_RPS, "requests sent / the time they were sent over, of the whole point")]
    due_rps: Annotated[Real, Metric(_RPS, "requests due in the window, less the one that ends it, / its length")]
    throughput_rps: Annotated[Real, Metric(_RPS, "ok answers that ended in the window / its length", uses="compare")]
    throughput_low_rps: Annotated[Real, Metric(_RPS, "low end of its 95% interval, by block bootstrap")]
    throughput_high_rps: Annotated[Real, Metric(_RPS, "high end of its 95% interval, by block bootstrap")]
    goodput_rps: Annotated[
        Real, Metric(_RPS, "throughput of answers within the SLO's limit for a request", uses="compare")
    ]
    attainment: Annotated[Real, Metric("share", "of all requests due in the window: ok within that limit")]
    slo_met: Annotated[bool | None, Metric("", "whether the requests due in the window keep the SLO")]
    latency_mean_s: Annotated[Real, Metric("seconds", "from due, over the ok answers due in the window", uses="SLO")]
    latency_mean_low_s: Annotated[Real, Metric("seconds", "low end of its 95% interval")]
    latency_mean_high_s: Annotated[Real, Metric("seconds", "high end of its 95% interval")]
    latency_p50_s: Annotated[Real, Metric("seconds", "median, from due", percentile=50, uses="compare, SLO")]
    latency_p50_low_s: Annotated[Real, Metric("seconds", "low end of its 95% interval")]
    latency_p50_high_s: Annotated[Real, Metric("seconds", "high end of its 95% interval")]
    latency_p90_s: Annotated[Real, Metric("seconds", "90th percentile, from due", percentile=90, uses="SLO")]
    latency_p95_s: Annotated[Real, Metric("seconds", "95th percentile, from due", percentile=95, uses="compare, SLO")]
    latency_p95_low_s: Annotated[Real, Metric("seconds", "low end of its 95% interval")]
    latency_p95_high_s: Annotated[Real, Metric("seconds", "high end of its 95% interval")]
    latency_p99_s: Annotated[Real, Metric("seconds", "99th percentile, from due", percentile=99, uses="compare, SLO")]
    latency_p99_low_s: Annotated[Real, Metric("seconds", "low end of its 95% interval")]
    latency_p99_high_s: Annotated[Real, Metric("seconds", "high end of its 95% interval")]
    latency_max_s: Annotated[Real, Metric("seconds", "the longest, from due; empty where a request has no ok answer")]
    latency_note: Annotated[str | None, Metric("", "why percentiles are empty")]
    independent_answers: Annotated[Real, Metric("answers", "that the requests due in the window are worth")]
    latency_from_sent_mean_s: Annotated[Real, Metric("seconds", "from sent, over the ok answers due in the window")]
    latency_from_sent_p50_s: Annotated[Real, Metric("seconds", "median, from sent")]
    latency_from_sent_p95_s: Annotated[Real, Metric("seconds", "95th percentile, from sent")]
    latency_from_sent_p99_s: Annotated[Real, Metric("seconds", "99th percentile, from sent")]
    send_lag_p95_s: Annotated[Real, Metric("seconds", "how late requests due in the window left, 95th percentile")]
    send_lag_p99_s: Annotated[Real, Metric("seconds", "how late requests due in the window left, 99th percentile")]
    in_flight_mean: Annotated[Real, Metric("requests", "sent and not ended, mean over the window")]
    in_flight_max: Annotated[Real, Metric("requests", "sent and not ended, at most, in the window")]
    queue_s: Annotated[Real, Metric("seconds", "mean wait in the server's queue")]
    embed_s: Annotated[Real, Metric("seconds", "mean time of the stage")]
    retrieve_s: Annotated[Real, Metric("seconds", "mean time of the stage")]
    generate_s: Annotated[Real, Metric("seconds", "mean time of the stage")]
    unaccounted_s: Annotated[
        Real, Metric("seconds", "mean latency from sent - the four, of answers that report stages")
    ]
    batch_size: Annotated[Real, Metric("requests, mean", "in an answer's batch, over the ok answers due in the window")]
    replicas: Annotated[int, Metric("replicas", "the most ready at once; 1 where the server reports none")]
    exact_match: Annotated[Real, Metric("share", "of all ok answers to questions with a gold answer")]
    f1: Annotated[Real, Metric("0 to 1", "words shared with the gold answer, mean over the same answers")]
    recall_at_k: Annotated[Real, Metric("share", "of the gold documents, those that came with the answer, mean")]
    replica_seconds: Annotated[Real, Metric("replicas x s", "ready, starting and draining ones, over `duration_s`")]
    replica_s_per_1000_good: Annotated[Real, Metric("replicas x s", "those for 1,000 ok answers within the SLO")]
    reaction_s: Annotated[Real, Metric("seconds", "from a step up of the load to the first decision for more")]
    capacity_s: Annotated[Real, Metric("seconds", "from the step up to when as many were ready as ever in the point")]
    cold_start_s: Annotated[Real, Metric("seconds", "mean from start to ready, of replicas that became ready")]
    reversals_per_min: Annotated[Real, Metric("per minute", "turns of the fleet's changes, from up to down or back")]
    client_cpu_cores: Annotated[Real, Metric("cores", "used by the client, mean over time from the window's start")]
    server_cpu_cores: Annotated[Real, Metric("cores", "used by the server, mean over time from the window's start")]
    other_cpu_cores: Annotated[Real, Metric("cores", "used by other programs, mean over time from the window's start")]


# The settings' columns stand between these and the next.
NAMING = {
    "point": Metric("", "the point's folder", "text"),
    "configuration": Metric("", "the design with its settings", "text"),
    "design": Metric("", "what the study calls the server", "text"),
}
LOAD = {
    "arrival": Metric("", "the arrival process, or `closed`", "text"),
    "offered_rps": Metric(_RPS, "the rate asked for; empty for a closed loop"),
    "concurrency": Metric("users", "of a closed loop, who each wait for an answer before they ask again"),
    "seed": Metric("", "of the schedule and the questions", "whole"),
}
ORIGIN = {
    "hardware": Metric("", "the machine", "text"),
    "hostname": Metric("", "its name", "text"),
    "code": Metric("", "checksum of the sources of harness and servers", "text"),
}


def _metric(annotation: Any) -> Metric:
    """The Metric of a field of Summary, of the kind that the field's type says."""
    kind, metric = annotation.__origin__, annotation.__metadata__[0]
    return replace(metric, kind=_KINDS.get(kind, "text"))


FIGURES = {item.name: _metric(item.type) for item in fields(Summary)}
SCALING = (
    *("replica_seconds", "replica_s_per_1000_good", "reaction_s", "capacity_s", "cold_start_s", "reversals_per_min"),
)
METRICS: Mapping[str, Metric] = NAMING | LOAD | FIGURES | ORIGIN


def bound(column: str, end: Literal["low", "high"]) -> str:
    """The column with an end of the interval of another: latency_p95_s -> latency_p95_low_s. There may be none."""
    figure, _, unit = column.rpartition("_")
    return f"{figure}_{end}_{unit}"


def metrics_table() -> str:
    """METRICS in Markdown, in the order of the columns."""
    lines = [f"| `{name}` | {metric.unit} | {metric.what} | {metric.uses} |" for name, metric in METRICS.items()]
    return "\n".join(["| column | unit | what it is | used by |", "|---|---|---|---|", *lines])
