"""METRICS, the one table of figures: a line per column of summary.csv; and the verdicts' names. Computes nothing.

It lives on the floor of results, the lowest that needs it: manifests are checked, an SLO is named and settings are told
from figures by it, all without statistics. How a figure of FIGURES is computed is in COMPUTED (statistics/summary.py),
under the same name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Verdict = Literal["failed", "contaminated", "client_limited", "failing", "saturated", "shedding", "valid"]
Source = Literal["measured", "simulated"]
VERDICTS: tuple[str, ...] = get_args(Verdict)  # when each is given is in statistics/verdicts.py
SOURCES: tuple[str, ...] = get_args(Source)
Kind = Literal["text", "count", "whole", "truth", "real"]

_RPS = "requests per second"


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure. `is_compared`: by `ragbench compare`; `is_limit`: of an SLO.

    `percentile`: which one it is, where it is one that is compared or limited.
    """

    name: str
    unit: str
    what: str
    kind: Kind = "real"
    is_compared: bool = False
    is_limit: bool = False
    percentile: float | None = None

    @property
    def axis_label(self) -> str:
        """The name, as in the file, and the unit."""
        return f"{self.name} ({self.unit})"


# The settings' columns stand between these and the next.
NAMING = (
    Metric("point", "", "the point's folder", kind="text"),
    Metric("configuration", "", "the design with its settings", kind="text"),
    Metric("design", "", "what the study calls the server", kind="text"),
)
LOAD = (
    Metric("arrival", "", "the arrival process, or `closed`", kind="text"),
    Metric("offered_rps", _RPS, "the rate asked for; empty for a closed loop"),
    Metric("concurrency", "users", "of a closed loop, who each wait for an answer before they ask again"),
    Metric("seed", "", "of the schedule and the questions", kind="whole"),
)
SCALING = (
    Metric("replica_seconds", "replicas x s", "ready, starting and draining ones, over `duration_s`"),
    Metric("replica_s_per_1000_good", "replicas x s", "those for 1,000 ok answers within the SLO"),
    Metric("reaction_s", "seconds", "from a step up of the load to the first decision for more"),
    Metric("capacity_s", "seconds", "from the step up to when as many were ready as ever in the point"),
    Metric("cold_start_s", "seconds", "mean from start to ready, of replicas that became ready"),
    Metric("reversals_per_min", "per minute", "turns of the fleet's changes, from up to down or back"),
)
FIGURES = (
    Metric("source", "", "`measured` or `simulated`", kind="text"),
    Metric("verdict", "", "whether the figures can be quoted", kind="text"),
    Metric("verdict_reason", "", "why that is the verdict", kind="text"),
    Metric("requests", "requests", "all that were scheduled: the next five together", kind="count"),
    Metric("completed", "requests", "`ok`", kind="count"),
    Metric("rejected", "requests", "`rejected`", kind="count"),
    Metric("timed_out", "requests", "`timeout`", kind="count"),
    Metric("failed", "requests", "ended by any other error", kind="count"),
    Metric("unsent", "requests", "`unsent`", kind="count"),
    Metric("answered_share", "share", "`completed` / `requests`"),
    Metric("duration_s", "seconds", "of the schedule: as given, else the mean gap x the arrivals"),
    Metric("window_start_s", "seconds", "of the steady window: 10% of `duration_s` after the first due time"),
    Metric("window_end_s", "seconds", "of the steady window: the last due time"),
    Metric("sent_rps", _RPS, "requests sent / the time they were sent over, of the whole point"),
    Metric("due_rps", _RPS, "requests due in the window, less the one that ends it, / its length"),
    Metric("throughput_rps", _RPS, "ok answers that ended in the window / its length", is_compared=True),
    Metric("throughput_low_rps", _RPS, "low end of its 95% interval, by block bootstrap"),
    Metric("throughput_high_rps", _RPS, "high end of its 95% interval, by block bootstrap"),
    Metric("goodput_rps", _RPS, "throughput of the answers within the SLO's limit for a request", is_compared=True),
    Metric("attainment", "share", "of all requests due in the window: ok within that limit"),
    Metric("slo_met", "", "whether the requests due in the window keep the SLO", kind="truth"),
    Metric("latency_mean_s", "seconds", "from due, over the ok answers due in the window", is_limit=True),
    Metric("latency_mean_low_s", "seconds", "low end of its 95% interval"),
    Metric("latency_mean_high_s", "seconds", "high end of its 95% interval"),
    Metric("latency_p50_s", "seconds", "median, from due", percentile=50, is_compared=True, is_limit=True),
    Metric("latency_p50_low_s", "seconds", "low end of its 95% interval"),
    Metric("latency_p50_high_s", "seconds", "high end of its 95% interval"),
    Metric("latency_p90_s", "seconds", "90th percentile, from due", percentile=90, is_limit=True),
    Metric("latency_p95_s", "seconds", "95th percentile, from due", percentile=95, is_compared=True, is_limit=True),
    Metric("latency_p95_low_s", "seconds", "low end of its 95% interval"),
    Metric("latency_p95_high_s", "seconds", "high end of its 95% interval"),
    Metric("latency_p99_s", "seconds", "99th percentile, from due", percentile=99, is_compared=True, is_limit=True),
    Metric("latency_p99_low_s", "seconds", "low end of its 95% interval"),
    Metric("latency_p99_high_s", "seconds", "high end of its 95% interval"),
    Metric("latency_max_s", "seconds", "the longest, from due; empty where a request has no ok answer"),
    Metric("latency_note", "", "why percentiles are empty", kind="text"),
    Metric("independent_answers", "answers", "that the requests due in the window are worth"),
    Metric("latency_from_sent_mean_s", "seconds", "from when each was sent, over the ok answers due in the window"),
    Metric("latency_from_sent_p50_s", "seconds", "median, from sent"),
    Metric("latency_from_sent_p95_s", "seconds", "95th percentile, from sent"),
    Metric("latency_from_sent_p99_s", "seconds", "99th percentile, from sent"),
    Metric("send_lag_p95_s", "seconds", "how late requests due in the window left, 95th percentile"),
    Metric("send_lag_p99_s", "seconds", "how late requests due in the window left, 99th percentile"),
    Metric("in_flight_mean", "requests", "sent and not ended, mean over the window"),
    Metric("in_flight_max", "requests", "sent and not ended, at most, in the window"),
    Metric("queue_s", "seconds", "mean wait in the server's queue"),
    Metric("embed_s", "seconds", "mean time of the stage"),
    Metric("retrieve_s", "seconds", "mean time of the stage"),
    Metric("generate_s", "seconds", "mean time of the stage"),
    Metric("unaccounted_s", "seconds", "mean of latency from sent - the four, of answers that report stages"),
    Metric("batch_size", "requests, mean", "in the batch of an answer, over the ok answers due in the window"),
    Metric("replicas", "replicas", "ready at most; 1 where the server does not tell", kind="count"),
    Metric("exact_match", "share", "of all ok answers to questions with a gold answer"),
    Metric("f1", "0 to 1", "words shared with the gold answer, mean over the same answers"),
    Metric("recall_at_k", "share", "of the gold documents, those that came with the answer, mean"),
    *SCALING,
    Metric("client_cpu_cores", "cores", "used by the client, mean over time from the window's start"),
    Metric("server_cpu_cores", "cores", "used by the server, mean over time from the window's start"),
    Metric("other_cpu_cores", "cores", "used by other programs, mean over time from the window's start"),
)
ORIGIN = (
    Metric("hardware", "", "the machine", kind="text"),
    Metric("hostname", "", "its name", kind="text"),
    Metric("code", "", "checksum of the sources of harness and servers", kind="text"),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (*NAMING, *LOAD, *FIGURES, *ORIGIN)}


def names(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """Their columns, in order."""
    return tuple(metric.name for metric in metrics)


def bound(column: str, end: Literal["low", "high"]) -> str:
    """The column with an end of the interval of another: latency_p95_s -> latency_p95_low_s. There may be none."""
    figure, _, unit = column.rpartition("_")
    return f"{figure}_{end}_{unit}"


def metrics_table() -> str:
    """METRICS in Markdown, in the order of the columns."""
    lines = [f"| `{one.name}` | {one.unit} | {one.what} | {_uses(one)} |" for one in METRICS.values()]
    return "\n".join(["| column | unit | what it is | used by |", "|---|---|---|---|", *lines])


def _uses(metric: Metric) -> str:
    return ", ".join(use for use, is_so in (("compare", metric.is_compared), ("SLO", metric.is_limit)) if is_so)
