"""python -m servers.retrieval: rows that say what was measured, and one line for a job that makes no sense."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[4]


def run(path: Path, job: dict[str, Any] | None, *flags: str) -> subprocess.CompletedProcess[str]:
    if job is not None:
        path.write_text(json.dumps(job), encoding="utf-8")
    command = [sys.executable, "-m", "servers.retrieval", *(flags or [str(path)])]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert any("progress" in line for line in lines)
    return [line["row"] for line in lines if "row" in line]


def search(**changes: Any) -> dict[str, Any]:
    point = {"k": 5, "batch": 4}
    approximate = [point | {"nprobe": nprobe} for nprobe in (1, 4)]
    job = {
        "grid": "small",
        "task": "search",
        "data": "clustered",
        "n": 4000,
        "d": 16,
        "metric": "l2",
        "threads": 1,
        "repeats": 2,
        "budget_s": 1.0,
        "contenders": [
            {"backend": "plain", "index": "flat", "points": [point]},
            {"backend": "torch", "index": "flat", "points": [point, {"k": 5, "batch": 1}]},
            {"backend": "torch", "index": "ivf", "nlist": 40, "points": approximate},
            {"backend": "faiss", "index": "ivf_pq", "nlist": 40, "m": 4, "points": [approximate[1] | {"rerank": 10}]},
            {"backend": "cupy", "index": "flat", "device": "cuda", "points": [point]},
            {"backend": "faiss", "index": "ivf_pq", "nlist": 40, "m": 5, "points": [approximate[1] | {"rerank": 0}]},
        ],
    }
    return job | changes


@pytest.mark.slow
def test_every_cell_has_a_row_that_says_what_it_is(tmp_path: Path) -> None:
    job = search()
    found = rows(run(tmp_path / "job.json", job))
    told = [(row["backend"], row["index"], row["batch"], row["nprobe"], row["status"]) for row in found]
    assert told == [
        ("plain", "flat", 4, None, "ok"),
        ("torch", "flat", 4, None, "ok"),
        ("torch", "flat", 1, None, "ok"),
        ("torch", "ivf", 4, 1, "ok"),
        ("torch", "ivf", 4, 4, "ok"),
        ("faiss", "ivf_pq", 4, 4, "ok"),
        ("cupy", "flat", 4, None, "skipped"),
        ("faiss", "ivf_pq", 4, 4, "failed"),
    ]
    assert "no CUDA device" in found[6]["reason"]
    assert "m must divide the 16 dimensions: one of 1, 2, 4, 8, 16, got 5" in found[7]["reason"]
    for row in found[:6]:
        assert 0 < row["search_min_s"] <= row["search_s"] <= row["search_max_s"]
        assert row["queries_per_s"] == pytest.approx(row["batch"] / row["search_s"])
        assert row["repeats"] == 2
        assert row["build_s"] > 0
        assert row["index_mib"] > 0
        assert row["peak_mib"] > 50
    exact, again, _, narrow, wide, coded = found[:6]
    assert exact["recall_at_k"] == again["recall_at_k"] == 1.0
    assert again["max_relative_error"] < 1e-6
    assert 0.1 < narrow["recall_at_k"] < wide["recall_at_k"] <= 1.0
    assert coded["recall_at_k"] > 0.5
    assert coded["index_mib"] < wide["index_mib"]
    # 4 queries x 4,000 vectors x 16 numbers, two operations each; every vector read once.
    assert again["flops"] == 2 * 4 * 4000 * 16
    assert again["bytes_moved"] == 4 * 16 * (4000 + 4)
    assert again["of_roofline"] == pytest.approx(again["floor_s"] / again["search_s"])
    assert coded["flops"] is None


@pytest.mark.slow
def test_a_file_is_searched_with_less_memory_than_it_takes(tmp_path: Path) -> None:
    numbers, width = 200_000, 1024  # 781 MiB
    contenders = [{"backend": "numpy", "index": "flat", "points": [{"k": 10, "batch": 8}]}]
    job = search(n=numbers, d=width, data="uniform", storage="file", memory_mib=640, repeats=1, contenders=contenders)
    ballast = np.ones(800 << 17)  # 800 MiB of the process that starts the job must not count as the job's
    (row,) = rows(run(tmp_path / "job.json", job))
    assert ballast[-1] == 1
    print(f"{row['peak_mib']:.0f} MiB at most, for a file of {numbers * width * 4 / (1 << 20):.0f} MiB")
    assert (row["status"], row["reason"]) == ("ok", None)
    assert row["recall_at_k"] == 1.0
    assert row["peak_mib"] < 640


@pytest.mark.slow
def test_kmeans_is_measured_by_one_inertia(tmp_path: Path) -> None:
    contenders = [{"backend": name, "clusters": 8, "iterations": 5} for name in ("numpy", "torch", "cupy")]
    job = search(task="kmeans", contenders=contenders)
    ours, torch, cupy = rows(run(tmp_path / "job.json", job))
    assert ours["inertia"] == pytest.approx(torch["inertia"], rel=1e-2)
    assert cupy["inertia"] == pytest.approx(ours["inertia"], rel=1e-6)  # the same code on the same numpy
    assert ours["flops"] == 2 * 5 * 4000 * 16 * 8
    assert ours["index"] is None


def test_vectors_of_a_file_are_taken(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((600, 8), dtype=np.float32)
    np.save(tmp_path / "own.npy", vectors)
    contenders = [{"backend": "numpy", "index": "flat", "points": [{"k": 5, "batch": 4}]}]
    job = search(data=str(tmp_path / "own.npy"), n=300, d=8, contenders=contenders)
    (row,) = rows(run(tmp_path / "job.json", job))
    assert row["recall_at_k"] == 1.0
    done = run(tmp_path / "job.json", job | {"n": 500})
    assert done.returncode == 2
    assert "wanted rows of 8, 500 and 256 more for queries, got (600, 8)" in done.stderr


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n": 0}, "n: Input should be greater than 0"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"contenders": []}, "contenders: "),
        ({"data": "square"}, "data must be uniform, clustered, intrinsic:DIMENSION or a file .npy, got 'square'"),
        ({"data": "intrinsic:99"}, "wants a dimension in 1..16"),
        ({"data": "nowhere.npy"}, "data nowhere.npy: "),
    ],
)
def test_a_job_that_makes_no_sense_is_one_line(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    done = run(tmp_path / "job.json", search(**changes))
    assert (done.returncode, done.stdout.count('"row"')) == (2, 0)
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_rates_of_this_machine_are_told(tmp_path: Path) -> None:
    done = run(tmp_path, None, "--rates", "--threads", "1")
    first = json.loads(done.stdout.splitlines()[0])["rates"]
    assert (first["device"], first["threads"]) == ("cpu", 1)
    assert first["copy_gb_per_s"] > 0.1
    assert first["matmul_gflop_per_s"]["float32"] > 0.1
