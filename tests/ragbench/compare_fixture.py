"""Results folders for comparisons: seeded queues solved exactly, summarised and written as measured ones are."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ragbench.results.records import REQUESTS, Row, summary_csv
from ragbench.results.slo import Slo
from ragbench.statistics.summary import summarise

HARDWARE = "AMD EPYC, 2 cores, 23 GiB, no GPU"


def write_runs(
    folder: Path,
    services: Mapping[str, Callable[[int], float]],
    *,
    rates: Sequence[float] = (40.0,),
    seeds: Sequence[int] = (1,),
    arrivals: Sequence[str] = ("poisson",),
    duration_s: float = 20.0,
    noise: int = 0,
    hardware: str = HARDWARE,
    slo: Slo | None = None,
    errors: float = 0.0,
    verdicts: Mapping[tuple[str, int], str] = MappingProxyType({}),
    commits: Mapping[int, str] = MappingProxyType({}),
    codes: Mapping[int, str] = MappingProxyType({}),
    hosts: Mapping[int, str] = MappingProxyType({}),
) -> Path:
    """A study of single-server queues: `services` maps each design to its mean service time at a rate (of all seeds).

    Arrivals depend on rate and seed alone, service times on `noise` and the design as well. `verdicts` overrules that
    of a design's points of one seed; `commits`, `codes` and `hosts` say where each seed was measured.
    """
    manifests = []
    for number, (design, mean_s) in enumerate(services.items()):
        for arrival in arrivals:
            for rate in rates:
                for seed in seeds:
                    due = _due(arrival, rate, seed, duration_s)
                    rng = np.random.default_rng([noise, number, seed, round(rate * 1000)])
                    rows = _rows(due, mean_s(rate) * rng.uniform(0.5, 1.5, len(due)), rng.random(len(due)) < errors)
                    point = f"{design}-{arrival}-{rate:g}rps-seed{seed}"
                    key = {
                        "point": point,
                        "configuration": design,
                        "design": design,
                        "arrival": arrival,
                        "offered_rps": rate,
                        "seed": seed,
                    }
                    manifest = _manifest(key, rows, duration_s, hardware, slo, due)
                    manifest |= {"git_commit": commits.get(seed), "code_sha256": codes.get(seed)}
                    manifest["hardware"] = {"hostname": hosts.get(seed)}
                    manifest["summary"] |= {"verdict": verdicts.get((design, seed), manifest["summary"]["verdict"])}
                    (folder / point).mkdir(parents=True)
                    (folder / point / "requests.csv").write_text(REQUESTS.text(rows))
                    (folder / point / "manifest.json").write_text(json.dumps(manifest))
                    manifests.append(manifest)
    (folder / "summary.csv").write_text(summary_csv(manifests))
    return folder


def _due(arrival, rate, seed, duration_s):
    if arrival == "ideal":
        return np.arange(int(rate * duration_s)) / rate
    gaps = np.random.default_rng([seed, round(rate * 1000)]).exponential(1 / rate, int(rate * duration_s * 2) + 50)
    times = np.cumsum(gaps)
    return times[times < duration_s]


def _rows(due, service_s, failed):
    free, rows = 0.0, []
    for number, (at, work, is_failed) in enumerate(zip(due, service_s, failed, strict=True)):
        free = max(free, at) + work
        latency = free - at
        status = "http_error" if is_failed else "ok"
        rows.append(Row(number, "q", float(at), float(at), free, latency, 0.0, status, 500 if is_failed else 200))
    return rows


def _manifest(key, rows, duration_s, hardware, slo, due):
    summary = summarise(rows, offered_rps=key["offered_rps"], duration_s=duration_s, slo=slo)
    point = {"name": key["point"], "settings": {}, **key, "concurrency": None}
    return {
        "point": point | {"slo": slo.as_dict() if slo else None},
        "schedule_sha256": hashlib.sha256(due.tobytes()).hexdigest(),
        "summary": {**key, "concurrency": None, **asdict(summary), "hardware": hardware},
    }
