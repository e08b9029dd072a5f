"""`ragbench retrieval` on a fake measuring command: resumption, failures, mistakes, and signals in the middle."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ragbench.retrieval.rows import load_rows
from tests.ragbench.running import background

FAKE = Path(__file__).parents[1] / "fakes" / "retrieval.py"
GRIDS = """
[grids.exact]
metric = ["ip", "l2", "l1"]
n = 40
d = 8
batch = [1, 32]
backend = ["plain", "numpy"]
"""


@pytest.fixture
def retrieval(call, tmp_path):
    """`ragbench retrieval` without a report, its results in tmp_path/r."""
    return lambda study, *more: call("retrieval", study, "--results", tmp_path / "r", "--no-report", *more)


def write_study(folder, mode="normal", *, grids=GRIDS, head="", name="mine"):
    """A study on the fake command in one mode."""
    path = folder / f"{name}.toml"
    path.write_text(f'[study]\ncommand = "python {FAKE} --mode {mode} --mark {folder}"\nthreads = 2\n{head}\n{grids}')
    return path


def statuses(folder):
    table = load_rows(folder / "r" / "mine" / "summary.csv")
    return {metric: rows["status"].tolist() for metric, rows in table.groupby("metric", sort=False)}


def test_a_study_is_measured_and_told(retrieval, tmp_path):
    code, out, err = retrieval(write_study(tmp_path))
    assert code == 0, err
    assert out.startswith("roofline, cpu (made-up cpu, threads 2): copy 20.0 GB/s; product, GFLOP/s: float32 100\n")
    assert err.splitlines()[:2] == [
        "[1/3] exact: search, uniform, n 40, d 8, ip: 4 cells",
        "[1/3] exact: search, uniform, n 40, d 8, ip: 4 cells | measuring ip",
    ]
    assert "exact: task search, data uniform, n 40, d 8, k 10, index flat" in out
    assert statuses(tmp_path) == {metric: ["ok"] * 4 for metric in ("ip", "l2", "l1")}
    folder = tmp_path / "r" / "mine"
    assert str(folder / "summary.csv") in out
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {
        *("summary.csv", "roofline.csv", "study.toml", "manifest.json", "log.txt")
    }
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["cells"] == {"ok": 12}
    assert {"git_commit", "versions", "hardware", "seed", "started_at", "ended_at"} <= manifest.keys()
    assert "log of l1" in (folder / "log.txt").read_text()
    assert list(folder.glob(".*.partial")) == []


def test_whole_cells_are_kept_and_redo_measures_them_again(retrieval, tmp_path):
    study = write_study(tmp_path)
    retrieval(study)
    before = (tmp_path / "r" / "mine" / "summary.csv").read_text()
    manifest = (tmp_path / "r" / "mine" / "manifest.json").read_text()
    code, out, err = retrieval(study)
    assert (code, err) == (0, "kept: 12 cells, of them 0 skipped; --redo measures them again\n")
    assert out.startswith("roofline, cpu")
    assert (tmp_path / "r" / "mine" / "summary.csv").read_text() == before
    assert (tmp_path / "r" / "mine" / "manifest.json").read_text() == manifest
    assert "[3/3]" in retrieval(study, "--redo")[2]


def test_only_new_cells_are_measured_and_dropped_ones_come_back(retrieval, tmp_path):
    retrieval(write_study(tmp_path))
    first = load_rows(tmp_path / "r" / "mine" / "summary.csv")
    changed = GRIDS.replace('["ip", "l2", "l1"]', '["l2", "cosine"]')
    code, _, err = retrieval(write_study(tmp_path, grids=changed))
    assert code == 0
    assert "[1/1] exact: search, uniform, n 40, d 8, cosine: 4 cells" in err
    assert "no longer in the study, and in no figure: 8 cells, kept in" in err
    assert statuses(tmp_path) == {metric: ["ok"] * 4 for metric in ("l2", "cosine")}
    code, _, err = retrieval(write_study(tmp_path))
    assert "[1/" not in err
    again = load_rows(tmp_path / "r" / "mine" / "summary.csv")
    assert again.equals(first)
    assert len(load_rows(tmp_path / "r" / "mine" / "others.csv")) == 4


@pytest.mark.parametrize(
    ("mode", "failed", "reason"),
    [
        ("dies", 3, "its process exited with code 1: no memory here"),
        ("garbage", 1, "a line on stdout that is neither progress nor a row: 'Loading 100%': log of l2"),
        ("fails", 1, "a bug in two lines"),
    ],
)
def test_a_failed_job_is_told_and_measured_again(retrieval, tmp_path, mode, failed, reason):
    code, out, err = retrieval(write_study(tmp_path, f"{mode} --at l2"))
    assert code == 1
    told = f"{failed} of exact: search, uniform, n 40, d 8, l2: 4 cells failed: {reason}"
    assert told in err.splitlines()
    assert f"{failed} of 12 cells failed" in err
    assert "failed" in out
    found = statuses(tmp_path)
    assert found["l2"].count("failed") == failed
    assert (found["ip"], found["l1"]) == (["ok"] * 4, ["ok"] * 4)
    code, _, err = retrieval(write_study(tmp_path))
    assert code == 0
    cells = f"{failed} cell{'s' if failed > 1 else ''}"
    assert f"[1/1] exact: search, uniform, n 40, d 8, l2: {cells}" in err
    assert f"failed last time and measured again: {failed} cells" in err
    assert statuses(tmp_path)["l2"] == ["ok"] * 4


@pytest.mark.slow
def test_a_job_that_takes_too_long_is_ended_and_told(retrieval, tmp_path):
    grids = GRIDS.replace("batch = [1, 32]\n", "").replace('["plain", "numpy"]', '"numpy"')
    head = "job_timeout_s = 1.0\nbudget_s = 0.5"
    code, _, err = retrieval(write_study(tmp_path, "deaf --at l2", grids=grids, head=head))
    assert code == 1
    limit = "job_timeout_s, and budget_s for each of 1 cells"
    assert f"failed: its process was not done after 1.5 s ({limit}): log of l2" in err
    assert statuses(tmp_path) == {"ip": ["ok"], "l2": ["failed"], "l1": ["ok"]}
    assert alive(tmp_path) == []


def test_cells_that_are_too_large_are_left_out(retrieval, tmp_path):
    study = write_study(tmp_path, grids=GRIDS.replace("n = 40", "n = [40, 40000]\nmax_gib = 0.001"))
    code, _, err = retrieval(study)
    assert code == 0
    table = load_rows(tmp_path / "r" / "mine" / "summary.csv")
    assert set(table.loc[table["n"] == 40000, "reason"]) == {"0.00119 GiB of vectors, more than max_gib 0.001"}
    assert (table["status"] == "skipped").sum() == 12
    code, _, err = retrieval(write_study(tmp_path, grids=GRIDS.replace("n = 40", "n = [40, 40000]")))
    assert "[3/3]" in err
    assert set(load_rows(tmp_path / "r" / "mine" / "summary.csv")["status"]) == {"ok"}


def test_one_grid_alone(retrieval, tmp_path):
    grids = GRIDS + GRIDS.replace("exact", "larger").replace("40", "80")
    code, _, err = retrieval(write_study(tmp_path, grids=grids), "--grid", "larger")
    assert code == 0
    assert "not measured yet: 12 cells of other grids" in err
    assert set(load_rows(tmp_path / "r" / "mine" / "summary.csv")["grid"]) == {"larger"}
    assert not (tmp_path / "r" / "mine" / "manifest.json").exists()
    assert retrieval(write_study(tmp_path, grids=grids))[0] == 0
    assert (tmp_path / "r" / "mine" / "manifest.json").exists()
    code, _, err = retrieval(write_study(tmp_path, grids=grids), "--grid", "smaller")
    assert (code, err) == (2, "--grid: there is no grid 'smaller' (known: exact, larger)\n")


def test_rows_of_other_hardware_are_refused(retrieval, tmp_path):
    study = write_study(tmp_path)
    retrieval(study)
    summary = tmp_path / "r" / "mine" / "summary.csv"
    summary.write_text(summary.read_text().replace(load_rows(summary)["hardware"].iloc[0], "another machine"))
    before = summary.read_text()
    code, out, err = retrieval(study)
    assert (code, out) == (2, "")
    assert err.startswith(f"12 cells in {tmp_path / 'r' / 'mine'} were measured on another machine, and this is ")
    assert err.endswith("or measure all grids again with --redo\n")
    assert summary.read_text() == before


@pytest.mark.slow
def test_redo_of_one_grid_does_not_mix_machines(retrieval, tmp_path):
    study = write_study(tmp_path, grids=GRIDS + GRIDS.replace("exact", "larger").replace("40", "80"))
    retrieval(study)
    summary = tmp_path / "r" / "mine" / "summary.csv"
    machine = load_rows(summary)["hardware"].iloc[0]
    summary.write_text(summary.read_text().replace(machine, "another machine"))
    assert retrieval(study, "--redo", "--grid", "exact")[0] == 2
    assert set(load_rows(summary)["hardware"]) == {"another machine"}
    assert retrieval(study, "--redo")[0] == 0
    assert set(load_rows(summary)["hardware"]) == {machine}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[study]\nrepeats = 0\n[grids.a]\nmetrics = 1\n",
            "[grids.a] has an unknown key 'metrics'; did you mean metric?",
        ),
        ("[study]\nrepeats = 0\n[grids.a]\nmetrics = 1\n", "[study] repeats must be >= 1, got 0"),
        (f'[study]\ncommand = "no-such-command"\n{GRIDS}', "there is no command 'no-such-command' here or on PATH"),
        (f'[study]\ncommand = "python {FAKE} --mode no-rates"\n{GRIDS}', "log.txt ends: no device here"),
        ('[designs.a]\ncommand = "x"\n', "is no retrieval study: ragbench run"),
    ],
)
def test_a_bad_study_is_lines_and_code_2(retrieval, tmp_path, text, line):
    (tmp_path / "mine.toml").write_text(text)
    code, out, err = retrieval(tmp_path / "mine.toml")
    assert (code, out) == (2, "")
    assert line in err
    assert "Traceback" not in err


def test_run_says_which_command_it_is(call, tmp_path):
    study = write_study(tmp_path)
    assert call("run", study) == (2, "", f"{study} is a retrieval study: ragbench retrieval {study}\n")


@pytest.mark.slow
def test_a_folder_in_use_is_refused(retrieval, tmp_path):
    (tmp_path / "r" / "mine").mkdir(parents=True)
    run = background("retrieval", write_study(tmp_path, "hangs"), "--results", tmp_path / "r")
    wait_for(tmp_path / "ids")
    code, _, err = retrieval(write_study(tmp_path))
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=20)
    assert code == 2
    assert "another run is writing to" in err


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["hangs", "deaf"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_process_and_the_study_goes_on(retrieval, tmp_path, mode, number, code):
    study = write_study(tmp_path, f"{mode} --at l2")
    run = background("retrieval", study, "--results", tmp_path / "r", "--no-report")
    wait_for(tmp_path / "ids")
    assert len(alive(tmp_path)) == 2, "the process and what it started"
    began = time.monotonic()
    run.send_signal(number)
    _, err = run.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert run.returncode == code
    assert f"stopped by {number.name}; whole jobs are kept in" in err
    assert f"To go on: python -m ragbench retrieval {study} --results {tmp_path / 'r'}" in err
    assert "Traceback" not in err
    assert alive(tmp_path) == []
    assert statuses(tmp_path) == {"ip": ["ok"] * 4}
    assert not (tmp_path / "r" / "mine" / "manifest.json").exists()
    code, _, err = retrieval(write_study(tmp_path))
    assert code == 0
    assert "kept: 4 cells" in err
    assert "[1/2] exact: search, uniform, n 40, d 8, l2" in err
    assert statuses(tmp_path) == {metric: ["ok"] * 4 for metric in ("ip", "l2", "l1")}


@pytest.mark.slow
def test_a_killed_harness_leaves_no_process(tmp_path):
    run = background("retrieval", write_study(tmp_path, "hangs"), "--results", tmp_path / "r", "--no-report")
    wait_for(tmp_path / "ids")
    process = psutil.Process(int((tmp_path / "ids").read_text().split()[0]))
    run.kill()
    run.communicate(timeout=10)
    _, left = psutil.wait_procs([process], timeout=10)
    for child in (int(word) for word in (tmp_path / "ids").read_text().split()[1:] if psutil.pid_exists(int(word))):
        os.kill(child, signal.SIGKILL)  # its own child ignores SIGTERM, and nobody was left to kill it
    assert left == []


def test_it_ends_with_the_report(call, tmp_path, monkeypatch):
    built = []
    monkeypatch.setitem(sys.modules, "ragbench.retrieval.report", SimpleNamespace(build=built.append))
    code, out, _ = call("retrieval", write_study(tmp_path), "--results", tmp_path / "r")
    assert code == 0
    assert built == [tmp_path / "r" / "mine"]
    assert all(str(built[0] / name) in out for name in ("summary.csv", "figures", "report.html"))
    monkeypatch.setitem(sys.modules, "ragbench.retrieval.report", SimpleNamespace(build=lambda folder: 1 / 0))
    code, _, err = call("retrieval", write_study(tmp_path), "--results", tmp_path / "r")
    assert code == 1
    assert "the results are whole. Again: python -m ragbench retrieval" in err


def wait_for(file):
    """Until the file is there."""
    deadline_s = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def alive(folder):
    """Those processes of the fake that still run."""
    ids = [int(word) for word in (folder / "ids").read_text().split()]
    return [pid for pid in ids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
