"""What the harness says of services that fail, end to end: real servers, real loads."""

import json
import math
import subprocess

import pandas as pd
import pytest

from ragbench.results.records import load_summary
from tests.ragbench.running import fake, ragbench, write_questions, write_study

BROKEN = [
    ("some-break", 0.95, "failing", 1),
    ("some-reset", 0.99, "failing", 1),
    ("some-refuse", 0.90, "shedding", 0),
    ("some-hang", 0.04, "saturated", 0),
    ("one-text", 0.0, "failing", 1),
]


@pytest.fixture
def service():
    """Start the fake server in a mode. -> its URL"""
    started = []

    def start(mode, *flags):
        started.append(
            subprocess.Popen(fake(mode, *flags), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        )
        started[-1].stdout.readline()
        return f"http://127.0.0.1:{json.loads(started[-1].stdout.readline())['port']}"

    yield start
    for server in started:
        server.terminate()
        server.wait(timeout=10)
        server.stdout.close()


def load(url, tmp_path, *flags):
    """`ragbench load` of 200 requests in a second, written to a folder. -> (what ran, its one summary row)"""
    shape = ("--rate", 200, "--requests", 200, "--timeout-s", 1, "--questions", write_questions(tmp_path, 100))
    done = ragbench("load", "--url", url, *shape, "--out", tmp_path / "out", *flags)
    found = list((tmp_path / "out").glob("*/manifest.json"))
    return done, json.loads(found[0].read_text())["summary"] if found else None


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "share", "verdict", "code"), BROKEN, ids=[case[0] for case in BROKEN])
def test_no_load_on_a_broken_service_is_valid(service, tmp_path, mode, share, verdict, code):
    done, summary = load(service(mode, "--share", str(share)), tmp_path)
    assert summary["verdict"] != "valid"
    if summary["verdict"] in ("contaminated", "client_limited"):  # their rules come first
        pytest.skip(f"this machine is too busy to judge a service on: {summary['verdict_reason']}")
    assert summary["verdict"] == verdict, summary["verdict_reason"]
    assert done.returncode == code, done.stderr
    assert f"{verdict}: {summary['verdict_reason']}" in done.stderr
    assert summary["answered_share"] == pytest.approx(1 - share, abs=0.01)
    assert (summary["latency_p99_s"] is None) == (mode != "one-text")
    assert (summary["latency_mean_s"] is None) == (verdict == "failing")


@pytest.mark.slow
def test_one_text_that_is_meant_so_is_no_error(service, tmp_path):
    done, summary = load(service("one-text"), tmp_path, "--same-answers")
    assert summary["verdict"] != "failing"
    assert "got one answer" not in done.stderr


@pytest.mark.slow
def test_a_load_with_no_request_at_all_ends_with_code_2_and_a_line(service, tmp_path):
    done = ragbench(
        "load", "--url", service("normal"), "--rate", 0.001, "--duration-s", 0.01, "--out", tmp_path / "out"
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("nothing was scheduled: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_failed_load_ends_with_code_1(service, tmp_path):
    done, summary = load(service("breaks"), tmp_path)
    assert (done.returncode, summary["verdict"]) == (1, "failed")
    assert "none of 200 requests got an ok answer" in done.stderr


@pytest.mark.slow
def test_a_study_in_which_a_point_draws_no_request_is_whole_with_empty_figures(tmp_path):
    load_table = 'arrivals = ["poisson"]\nrates = [0.001]\nduration_s = 0.01\nready_timeout_s = 10.0'
    study = write_study(tmp_path, '[designs.a]\ncommand = "FAKE"\n', load=load_table)
    done = ragbench("run", study, "--results", tmp_path / "r", "--no-report")
    assert done.returncode == 0, done.stderr
    assert "valid (no request was drawn)" in done.stderr
    (row,) = load_summary(tmp_path / "r" / "study" / "summary.csv").to_dict("records")
    assert (row["verdict"], row["verdict_reason"], row["requests"]) == ("valid", "no request was drawn", 0)
    assert all(pd.isna(row[name]) for name in ("throughput_rps", "goodput_rps", "latency_p50_s", "answered_share"))


@pytest.mark.slow
def test_a_study_of_broken_services_says_so_and_ends_with_code_1(tmp_path, call, monkeypatch):
    monkeypatch.setattr("ragbench.statistics.verdicts.LATE_S", math.inf)  # late sends are not the question,
    monkeypatch.setattr("ragbench.machine.telemetry.busy_s", lambda: 0.0)  # nor other programs: their use is not known
    designs = "".join(
        f'[designs.{mode}]\ncommand = "FAKE --mode {mode} --share {share}"\n' for mode, share, _, _ in BROKEN[:3]
    )
    load_table = 'arrivals = ["ideal"]\nrates = [200]\nrequests = 200\nready_timeout_s = 10.0'
    study = write_study(tmp_path, designs, load=load_table)
    code, _, err = call("run", study, "--results", tmp_path / "r", "--no-report")
    summary = load_summary(tmp_path / "r" / "study" / "summary.csv").set_index("design")
    assert "valid" not in set(summary["verdict"])
    assert summary.loc["some-break", "verdict"] == "failing"
    assert code == 1
    assert "points failing: see verdict_reason" in err
