import json

import numpy as np
import pandas as pd
import pytest

from ragbench.cli import report
from ragbench.files.toml_tables import StudyError
from ragbench.results.paths import StudyPaths
from ragbench.results.records import (
    DECISIONS,
    REPLICAS,
    REQUESTS,
    STARTS,
    TELEMETRY,
    Decision,
    RecordError,
    ReplicaCount,
    Sample,
    Start,
    load_summary,
    write_atomic,
    write_manifest,
)
from ragbench.results.slo import Slo
from ragbench.statistics.recompute import recompute
from tests.ragbench.queues import rows_of

HARDWARE = "AMD, 2 cores, 4 GiB, no GPU"


def write_old(root, rate_rps, *, verdict="valid", reason="sent on time", **settings):
    """A point as the first version of the harness wrote it: 100 requests, each answered after 0.1 s."""
    name = f"old-ideal-{rate_rps}rps-seed1"
    paths = StudyPaths(root).point(name)
    due = np.arange(100) / rate_rps
    write_atomic(paths.requests, REQUESTS.text(rows_of(due, due + 0.1)))
    key = {"arrival": "ideal", "offered_rps": rate_rps, "seed": 1}
    point = {
        "name": name,
        "configuration": "old",
        "design": "old",
        "settings": settings,
        "duration_s": 100 / rate_rps,
    } | key
    before = {
        "point": name,
        "configuration": "old",
        "design": "old",
        "verdict": verdict,
        "verdict_reason": reason,
        "hardware": HARDWARE,
    }
    manifest = {"point": point, "seed": 1, "hardware": {"cores": 2}, "summary": before | key}
    write_manifest(paths.manifest, manifest)
    return paths


def test_old_points_get_new_columns_and_keep_what_names_them(tmp_path):
    write_old(tmp_path, 20.0, max_batch_size=8)
    write_old(tmp_path, 10.0, max_batch_size=8)
    seen = []
    recompute(StudyPaths(tmp_path), on_point=seen.append)
    summary = load_summary(tmp_path / "summary.csv")
    assert summary["offered_rps"].tolist() == [10, 20]
    assert summary["point"].tolist() == seen
    assert summary["max_batch_size"].tolist() == [8, 8]
    assert summary["latency_p95_s"].tolist() == pytest.approx([0.1, 0.1])
    assert summary["in_flight_mean"].tolist() == pytest.approx([1.0, 2.0], rel=0.01)
    assert set(summary["hardware"]) == {HARDWARE}
    assert set(summary["source"]) == {"measured"}
    assert summary["slo_met"].isna().all()
    manifest = json.loads((tmp_path / seen[0] / "manifest.json").read_text())
    assert manifest["summary"]["window_start_s"] == pytest.approx(1.0)
    assert manifest["point"]["duration_s"] == 10


def test_another_slo_can_be_asked_and_the_points_own_comes_back(tmp_path):
    paths = write_old(tmp_path, 20.0)
    manifest = json.loads(paths.manifest.read_text())
    manifest["point"]["slo"] = {"latency_p95_s": 0.2, "attainment": 0.95}
    write_manifest(paths.manifest, manifest)
    (strict,) = recompute(StudyPaths(tmp_path), slo=Slo({"latency_p95_s": 0.05}))
    assert strict["summary"]["slo_met"] is False
    assert strict["summary"]["goodput_rps"] == 0
    assert strict["point"]["slo"]["latency_p95_s"] == 0.2
    (own,) = recompute(StudyPaths(tmp_path))
    assert own["summary"]["slo_met"] is True
    assert own["slo"] == {"latency_p95_s": 0.2, "attainment": 0.95}


def test_replicas_and_telemetry_are_read_where_they_are(tmp_path):
    paths = write_old(tmp_path, 20.0)
    write_atomic(paths.replicas, REPLICAS.text([ReplicaCount(0.0, 3, 0, 0)]))
    write_atomic(paths.telemetry, TELEMETRY.text([Sample(2.0, 0.1, other_cpu_cores=1.5)]))
    write_atomic(paths.scaling, DECISIONS.text([Decision(4.0, 3, 0, 9, 0.1, 20.0, 4, "queue wait")]))
    write_atomic(paths.starts, STARTS.text([Start(4.5, 0.5)]))
    manifest = json.loads(paths.manifest.read_text())
    manifest["point"]["arrival"] = manifest["summary"]["arrival"] = "step:up=0.5"
    write_manifest(paths.manifest, manifest)
    (manifest,) = recompute(StudyPaths(tmp_path))
    assert manifest["summary"]["replicas"] == 3
    assert manifest["summary"]["replica_seconds"] == pytest.approx(15.0)
    assert manifest["summary"]["replica_s_per_1000_good"] == pytest.approx(150.0)
    assert manifest["summary"]["reaction_s"] == pytest.approx(1.5)
    assert manifest["summary"]["cold_start_s"] == 0.5
    assert manifest["summary"]["client_cpu_cores"] == pytest.approx(0.1)
    assert manifest["summary"]["verdict_reason"] == "other programs used 1.50 of 2 cores meanwhile"


def test_why_a_server_died_is_kept_and_verdicts_are_not(tmp_path):
    write_old(tmp_path, 10.0, verdict="failed", reason="the server ended with code 3")
    write_old(tmp_path, 20.0, verdict="saturated", reason="an older rule said so")
    died, other = (manifest["summary"] for manifest in recompute(StudyPaths(tmp_path)))
    assert (died["verdict"], died["verdict_reason"]) == ("failed", "the server ended with code 3")
    assert other["verdict"] == "valid"


def test_computed_twice_is_the_same_file(tmp_path):
    write_old(tmp_path, 10.0)
    recompute(StudyPaths(tmp_path))
    first = (tmp_path / "summary.csv").read_bytes()
    recompute(StudyPaths(tmp_path))
    assert (tmp_path / "summary.csv").read_bytes() == first


def test_rows_that_cannot_be_read_are_named(tmp_path):
    paths = write_old(tmp_path, 10.0)
    pd.read_csv(paths.requests).drop(columns="due_s").to_csv(paths.requests, index=False)
    with pytest.raises(RecordError, match=r"requests\.csv lacks the columns due_s"):
        recompute(StudyPaths(tmp_path))
    assert not (tmp_path / "summary.csv").exists()


def test_the_command_prints_the_table_the_reasons_and_how_the_slo_was_kept(tmp_path, capsys):
    write_old(tmp_path, 20.0, verdict="failed", reason="the server ended with code 3")
    write_old(tmp_path, 10.0)
    report.report(tmp_path, slo=["latency_p95_s=0.2"], page=False)
    out, err = capsys.readouterr()
    assert "old-ideal-20.0rps-seed1: failed: the server ended with code 3" in err
    assert "slo latency_p95_s <= 0.2: met at 2 of 2 points" in out
    assert "10/s" in out


@pytest.mark.parametrize(
    ("slo", "message"), [("latency_p5_s=1", "unknown slo 'latency_p5_s'; known"), ("x", "got 'x'")]
)
def test_the_command_refuses_an_slo_it_does_not_know_and_changes_nothing(tmp_path, slo, message):
    paths = write_old(tmp_path, 20.0)
    before = paths.manifest.read_bytes()
    with pytest.raises(StudyError, match=message):
        report.report(tmp_path, slo=[slo], page=False)
    assert paths.manifest.read_bytes() == before
