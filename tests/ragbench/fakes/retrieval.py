"""A measuring command that measures nothing: made-up figures of a machine of 100 GFLOP/s and 20 GB/s.

`--mode` is how it fails, `--at METRIC` in which jobs. `--mark FOLDER`: where the ids of its processes go when it hangs.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

GFLOP_PER_S = {"cpu": 100.0, "cuda": 20_000.0}
GB_PER_S = {"cpu": 20.0, "cuda": 2000.0}
# The share of the roofline that a backend reaches, and what any call of it costs.
SHARE = {"plain": 0.02, "numpy": 0.5, "torch": 0.6, "faiss": 0.8, "cupy": 0.5}
CALL_S = {"plain": 2e-6, "numpy": 5e-6, "torch": 1.5e-5, "faiss": 3e-6, "cupy": 5e-5}
L1 = {"plain": 1.0, "numpy": 0.2, "torch": 0.3, "faiss": 0.9, "cupy": 0.8}


def figures(cell):
    """What is told of a cell, by its settings."""
    if cell["device"] == "cuda" and cell["backend"] not in ("torch", "cupy"):
        return {"status": "skipped", "reason": f"{cell['backend']} knows no cuda"}
    if cell["task"] == "kmeans":
        return training(cell)
    n, d, batch, k = cell["n"], cell["d"], cell["batch"], cell["k"]
    seen, bytes_each = share_seen(cell), 4 * d if cell["index"] != "ivf_pq" else cell["m"]
    flops, moved = 2.0 * n * d * batch * seen, n * bytes_each * min(1.0, seen * batch) + 4 * batch * d
    floor_s = max(flops / GFLOP_PER_S[cell["device"]], moved / GB_PER_S[cell["device"]]) / 1e9
    share = SHARE[cell["backend"]] * (L1[cell["backend"]] if cell["metric"] == "l1" else 1)
    search_s = CALL_S[cell["backend"]] * (8 if cell["device"] == "cuda" else 1) + floor_s / share
    return {
        **timed(search_s, batch),
        "build_s": 1e-9 * n * d * (1 if cell["index"] == "flat" else 50),
        "bytes_moved": moved,
        "flops": flops,
        "floor_s": floor_s,
        "of_roofline": floor_s / search_s,
        "recall_at_k": recall(cell),
        "max_relative_error": 1e-6,
        "index_mib": index_mib(cell),
        "peak_mib": 200 + n * d * 4 / 2**20,
        "inertia": None,
        "k": k,
    }


def share_seen(cell):
    if cell["index"] == "hnsw":
        return min(1.0, 40 * cell["ef_search"] / cell["n"])
    return 1.0 if cell["index"] == "flat" else min(1.0, cell["nprobe"] / cell["nlist"] + cell["nlist"] / cell["n"])


def recall(cell):
    if cell["index"] == "flat":
        return 1.0
    if cell["index"] == "hnsw":
        return 1 - 0.6 * math.exp(-cell["ef_search"] / 40)
    reached = 1 - 0.7 * math.exp(-6 * cell["nprobe"] / math.sqrt(cell["nlist"]))
    return reached if cell["index"] == "ivf" else reached * (0.6 if not cell["rerank"] else 0.97)


def index_mib(cell):
    full = cell["n"] * cell["d"] * 4 / 2**20
    return {"flat": full, "ivf": 1.02 * full, "hnsw": full + cell["n"] * 256 / 2**20}.get(
        cell["index"], cell["n"] * (cell["m"] or 0) / 2**20 + 0.1 * full * bool(cell["rerank"])
    )


def training(cell):
    flops = 2.0 * cell["n"] * cell["d"] * cell["clusters"] * cell["iterations"]
    moved = 4.0 * cell["n"] * cell["d"] * cell["iterations"]
    floor_s = max(flops / GFLOP_PER_S[cell["device"]], moved / GB_PER_S[cell["device"]]) / 1e9
    search_s = floor_s / SHARE[cell["backend"]] + 0.001
    inertia = cell["n"] * (5 / cell["clusters"] if cell["clusters"] <= 32 else 5 / 32 - (cell["clusters"] - 32) / 2000)
    return {**timed(search_s, None), "flops": flops, "bytes_moved": moved, "floor_s": floor_s} | {
        "of_roofline": floor_s / search_s,
        "inertia": inertia,
        "peak_mib": 300.0,
    }


def timed(search_s, batch):
    spread = {"search_s": search_s, "search_min_s": 0.9 * search_s, "search_max_s": 1.2 * search_s}
    return {"status": "ok", "reason": None, "repeats": 5, **spread, "queries_per_s": batch and batch / search_s}


def cells(job):
    shared = {name: value for name, value in job.items() if name not in ("contenders", "repeats", "budget_s", "grid")}
    for contender in job["contenders"]:
        own = {name: value for name, value in contender.items() if name != "points"}
        for point in contender.get("points", [{}]):
            yield {**shared, **own, **point}


def tell(**message):
    print(json.dumps(message), flush=True)


def tell_rates(threads):
    for device in os.environ.get("FAKE_DEVICES", "cpu").split():
        products = {"float32": GFLOP_PER_S[device]}
        about = {"device": device, "name": f"made-up {device}", "threads": threads if device == "cpu" else None}
        tell(rates={**about, "copy_gb_per_s": GB_PER_S[device], "matmul_gflop_per_s": products})


def hang(mark, *, deaf):
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        ids = Path(mark) / "ids.partial"
        ids.write_text(f"{os.getpid()} {child.pid}")
        ids.rename(Path(mark) / "ids")
        signal.pause()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("job", nargs="?")
    parser.add_argument("--rates", action="store_true")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--mode", default="normal")
    parser.add_argument("--reason", default="a bug\nin two lines")
    parser.add_argument("--at", default="")
    parser.add_argument("--mark", default="")
    given = parser.parse_args()
    if given.rates:
        if given.mode == "no-rates":
            sys.exit("no device here")
        return tell_rates(given.threads)
    job = json.loads(Path(given.job).read_text(encoding="utf-8"))
    mode = given.mode if given.at in ("", job["metric"]) else "normal"
    tell(progress=f"measuring {job['metric']}")
    print(f"log of {job['metric']}", file=sys.stderr)
    if mode in ("hangs", "deaf"):
        hang(given.mark, deaf=mode == "deaf")
    rows = [{**cell, **figures(cell)} for cell in cells(job)]
    if mode == "garbage":
        print("Loading 100%", flush=True)
        tell(row={"backend": "nobody"})
        rows = rows[:-1]
    for number, row in enumerate(rows):
        if mode == "dies" and number == 1:
            sys.exit("no memory here")
        if mode == "fails" and number == 1:
            tell(row={**row, "status": "failed", "reason": given.reason, "search_s": None})
        else:
            tell(row=row)
    return None


if __name__ == "__main__":
    main()
