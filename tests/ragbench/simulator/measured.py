"""A folder as a measured study leaves it, of designs whose service times are known. Measures nothing."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ragbench.results.records import REQUESTS, summary_csv
from ragbench.simulator.run import run
from ragbench.statistics.summary import summarise
from tests.ragbench.simulator.known import BATCHED, FLEET, requests

CHOICES = {"baseline": {}, "batched": {"max_batch_size": 8}, "scaled": {"max_batch_size": 8}}
SERVER = {"baseline": {}, "batched": BATCHED, "scaled": FLEET}
DURATION_S = 3.0


def write_measured(
    folder: Path, times, *, rates=(20, 60, 200), seeds=(1, 2), designs=tuple(CHOICES), duration_s=DURATION_S
) -> Path:
    """Points of all designs at all rates and seeds; what `times` say is what was measured."""
    loads = [(design, rate, seed) for design in designs for rate in rates for seed in seeds]
    manifests = [_point(folder, *load, times, duration_s) for load in loads]
    (folder / "summary.csv").write_text(summary_csv(manifests))
    (folder / "study.toml").write_text('[study]\ntitle = "Known designs"\n')
    return folder


def _point(folder, design, rate, seed, times, duration_s):
    due_s = np.sort(np.random.default_rng([seed, rate]).uniform(0, duration_s, int(rate * duration_s)))
    rows, _ = run(requests(due_s), design=design, settings=SERVER[design], times=times, timeout_s=30.0, seed=100 + seed)
    name = f"{design}-poisson-{rate}rps-seed{seed}"
    point = {"name": name, "configuration": design, "design": design, "settings": CHOICES[design], "offered_rps": rate}
    point |= {"arrival": "poisson", "seed": seed, "concurrency": None}
    point |= {"duration_s": duration_s, "timeout_s": 30.0}
    key = {
        "point": name,
        "configuration": design,
        "design": design,
        "arrival": "poisson",
        "offered_rps": rate,
        "concurrency": None,
    }
    summary = key | {"seed": seed} | asdict(summarise(rows, offered_rps=rate, duration_s=duration_s))
    manifest = {"point": point, "server_info": {"design": design, "settings": SERVER[design]}}
    manifest |= {"hardware": {"hostname": "here"}, "code_sha256": "c0de" * 16}
    manifest |= {"summary": summary | {"hardware": "a laptop"}}
    (folder / name).mkdir(parents=True)
    (folder / name / "requests.csv").write_text(REQUESTS.text(rows))
    (folder / name / "manifest.json").write_text(json.dumps(manifest))
    return manifest
