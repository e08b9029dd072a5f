"""Writes results folders with the columns studies have, from a small queue in virtual time. Measures nothing."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

REQUESTS_HEADER = (
    "request,question,due_s,sent_s,done_s,latency_s,send_lag_s,status,http_status,queue_s,embed_s,retrieve_s,generate_s,"
    "batch_size,close_reason,replica,prompt_tokens,completion_tokens,exact_match,f1,recall_at_k,result,error"
)
SUMMARY_HEADER_TAIL = (
    "arrival,offered_rps,concurrency,seed,source,verdict,verdict_reason,requests,completed,rejected,timed_out,failed,"
    "unsent,answered_share,duration_s,window_start_s,window_end_s,sent_rps,due_rps,throughput_rps,throughput_low_rps,throughput_high_rps,"
    "goodput_rps,attainment,slo_met,latency_mean_s,latency_mean_low_s,latency_mean_high_s,latency_p50_s,"
    "latency_p50_low_s,latency_p50_high_s,latency_p90_s,latency_p95_s,latency_p95_low_s,latency_p95_high_s,"
    "latency_p99_s,latency_p99_low_s,latency_p99_high_s,latency_max_s,latency_note,independent_answers,latency_from_sent_mean_s,latency_from_sent_p50_s,"
    "latency_from_sent_p95_s,latency_from_sent_p99_s,send_lag_p95_s,send_lag_p99_s,in_flight_mean,in_flight_max,"
    "queue_s,embed_s,retrieve_s,generate_s,unaccounted_s,batch_size,replicas,exact_match,f1,recall_at_k,"
    "replica_seconds,replica_s_per_1000_good,reaction_s,capacity_s,cold_start_s,reversals_per_min,"
    "client_cpu_cores,server_cpu_cores,other_cpu_cores,hardware,hostname,code"
)
STAGES = ("queue_s", "embed_s", "retrieve_s", "generate_s")
HARDWARE = "AMD EPYC, 2 cores, 23 GiB, no GPU"
THREE = {
    "baseline": [{}],
    "batched": [{"max_batch_size": 8}, {"max_batch_size": 32}],
    "scaled": [{"max_batch_size": 32}],
}


def write_study(
    folder: Path,
    *,
    designs: Mapping[str, Sequence[Mapping[str, float]]] = THREE,
    arrivals: Sequence[str] = ("ideal", "poisson"),
    rates: Sequence[float] = (10, 40, 120),
    seeds: Sequence[int] = (1,),
    duration_s: float = 3.0,
    has_stages: bool = True,
    failed: Sequence[tuple[str, float]] = (),
    hardware: str = HARDWARE,
    base_s: float = 0.02,
    users: Sequence[int] = (),
    source: str = "measured",
) -> Path:
    """A whole study: (design, rate) pairs in `failed` have no answers; `base_s` is the cost of one batch.

    `users`: closed loops, each with the rows of an open one of 5 requests/s a user.
    """
    settings = list(dict.fromkeys(name for choices in designs.values() for choice in choices for name in choice))
    given = [(design, choice) for design, choices in designs.items() for choice in choices]
    rows = []
    loads = [(arrival, rate, None) for arrival, rate in itertools.product(arrivals, rates)]
    loads += [("closed", 5 * number, number) for number in users]
    for (design, choice), (arrival, rate, number), seed in itertools.product(given, loads, seeds):
        told = "".join(f"-{name}={value}" for name, value in choice.items())
        load = f"{number}users" if number else f"{rate:g}rps"
        point = f"{design}{told}-{arrival}-{load}-seed{seed}".replace(":", "_")
        requests = _requests(design, choice, due_s=_due(arrival, rate, seed, duration_s), base_s=base_s)
        if not has_stages:
            requests[[*STAGES, "batch_size", "replica"]] = np.nan
        if (design, rate) in failed:
            requests = requests.assign(status="connection_error")
            requests[[*STAGES, "batch_size", "latency_s", "done_s", "http_status"]] = np.nan
        key = {"configuration": f"{design}{told}", "design": design, "arrival": arrival, "seed": seed}
        key |= {"offered_rps": None if number else rate, "concurrency": number}
        told = {"name": point, "settings": choice, **key}
        _write_point(
            folder / point, told, requests, _replicas(rate, duration_s) if design.startswith("scaled") else None
        )
        key |= {"point": point, "source": source}
        rows.append({**choice, **key, "hardware": hardware, **_summary(requests, duration_s)})
    columns = ["point", "configuration", "design", *settings, *SUMMARY_HEADER_TAIL.split(",")]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "summary.csv", index=False)
    (folder / "study.toml").write_text('[study]\ntitle = "Three designs on a made-up machine"\n')
    return folder


def _write_point(folder, point, requests, replicas):
    folder.mkdir(parents=True)
    requests.to_csv(folder / "requests.csv", index=False)
    if replicas is not None:
        replicas.to_csv(folder / "replicas.csv", index=False)
    (folder / "manifest.json").write_text(
        json.dumps({"point": point, "summary": {"point": folder.name, "verdict": "valid"}})
    )


def _due(arrival, rate, seed, duration_s):
    count = int(rate * duration_s)
    random = np.sort(np.random.default_rng([seed, int(rate)]).uniform(0, duration_s, count))
    return np.arange(count) / rate if arrival == "ideal" else random


def _requests(design, choice, *, due_s, base_s):
    limit = 1 if design == "baseline" else int(choice.get("max_batch_size", 16))
    servers = 3 if design == "scaled" else 1
    served = _served(due_s, limit=limit, servers=servers, base_s=base_s)
    latency_s = served[list(STAGES)].sum(axis=1) + 0.003
    return served.assign(
        request=range(len(served)),
        question="q00001",
        sent_s=served["due_s"],
        done_s=served["due_s"] + latency_s,
        latency_s=latency_s,
        send_lag_s=0.0005,
        status="ok",
        http_status=200,
        exact_match=1.0,
        f1=1.0,
        recall_at_k=1.0,
    ).reindex(columns=REQUESTS_HEADER.split(","))


def _served(due_s, *, limit, servers, base_s):
    """Each free server takes what waits, at most `limit`: base_s plus 1 ms for each, plus noise."""
    rng = np.random.default_rng(len(due_s))
    free_s, rows, index = [0.0] * servers, [], 0
    while index < len(due_s):
        server = int(np.argmin(free_s))
        start_s = max(free_s[server], due_s[index])
        batch = [n for n in range(index, min(index + limit, len(due_s))) if due_s[n] <= start_s]
        generate_s = (base_s + 0.001 * len(batch)) * rng.uniform(0.9, 1.2)
        embed_s, retrieve_s = 0.002 + 0.0002 * len(batch), 0.0006
        free_s[server] = start_s + embed_s + retrieve_s + generate_s
        rows += [(due_s[n], start_s - due_s[n], embed_s, retrieve_s, generate_s, len(batch), server) for n in batch]
        index += len(batch)
    return pd.DataFrame(rows, columns=["due_s", *STAGES, "batch_size", "replica"])


def _replicas(rate, duration_s):
    t_s = np.arange(0, duration_s, 0.5)
    ready = np.minimum(1 + (t_s > 1) * (rate > 30) + (t_s > 2) * (rate > 100), 3)
    starting = np.append(np.diff(ready), 0)
    return pd.DataFrame({"t_s": t_s, "ready": ready, "starting": starting, "draining": 0})


def _summary(requests, duration_s):
    answered = requests[requests["status"] == "ok"]
    latency_s, count = answered["latency_s"], len(requests)
    late = latency_s.tail(count // 4).mean() > 2.5 * latency_s.head(count // 4).mean() + 0.02
    verdict = "failed" if answered.empty else "saturated" if late else "valid"
    percentiles = {f"latency_p{q}_s": latency_s.quantile(q / 100) for q in (50, 90, 95, 99)}
    through = len(answered) / max(requests["done_s"].max(), duration_s) if len(answered) else 0.0
    return {
        "verdict": verdict,
        "verdict_reason": "",
        "requests": count,
        "completed": len(answered),
        "rejected": 0,
        "timed_out": 0,
        "failed": count - len(answered),
        "unsent": 0,
        "answered_share": len(answered) / count,
        "duration_s": duration_s,
        "sent_rps": count / duration_s,
        "due_rps": count / duration_s,
        "throughput_rps": through,
        "goodput_rps": through,
        "latency_mean_s": latency_s.mean(),
        **percentiles,
        "latency_max_s": latency_s.max(),
        "latency_p95_low_s": 0.9 * percentiles["latency_p95_s"],
        "latency_p95_high_s": 1.2 * percentiles["latency_p95_s"],
        "send_lag_p95_s": 0.0004,
        "send_lag_p99_s": 0.0005,
        "in_flight_max": 7,
        **answered[[*STAGES, "batch_size", "exact_match", "f1", "recall_at_k"]].mean().to_dict(),
        "replicas": 1,
    }
