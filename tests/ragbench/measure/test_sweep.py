import asyncio
import hashlib
import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from ragbench.files.toml_tables import StudyError
from ragbench.measure.point import look_around
from ragbench.measure.progress import Progress
from ragbench.measure.sweep import make_plan, run
from ragbench.results.metrics import SCALING
from ragbench.results.paths import StudyPaths
from ragbench.results.records import (
    DECISIONS,
    REQUESTS,
    STARTS,
    TELEMETRY,
    Sample,
    load_summary,
    read_manifest,
    read_manifests,
    write_manifest,
)
from ragbench.study.study_file import load_study
from tests.ragbench.running import fakes_alive, write_study

ONE = '[designs.a]\ncommand = "FAKE"\n'


async def sweep(path, *, redo=None):
    """Run a study beside its file. -> (paths, plan it ran, lines it showed)."""
    study, paths = load_study(path), StudyPaths(path.parent / "results")
    plan = make_plan(study, paths, redo=redo)
    with Progress(plan.points, starts=len(plan.launches)) as progress:
        await run(study, path, paths, plan=plan, around=look_around(), progress=progress)
    return paths, plan


@pytest.fixture
def watched(monkeypatch):
    """Telemetry that takes one sample at once and one when the load is over. -> what it was given"""
    given = []

    async def watch(server, clock, samples):
        given.append((server and server(), clock()))
        samples.append(Sample(0.0, client_cpu_cores=0.25))
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            samples.append(Sample(clock(), client_cpu_cores=0.5, other_cpu_cores=0.0))

    monkeypatch.setattr("ragbench.measure.point.telemetry", SimpleNamespace(watch=watch))
    return given


@pytest.mark.slow
async def test_telemetry_runs_beside_the_load_and_knows_the_server(tmp_path, watched, elsewhere):
    designs = f'{ONE}[designs.b]\nurl = "{elsewhere}"\n'
    paths, plan = await sweep(write_study(tmp_path, designs))
    assert len(watched) == len(plan.points) == 2
    for server, began_s in watched:
        assert server
        assert -0.1 < began_s < 0.5
    for point in plan.points:
        samples = TELEMETRY.frame(paths.point(point.name).telemetry)
        assert samples["client_cpu_cores"].tolist() == [0.25, 0.5]
        assert 0.145 <= samples["t_s"].iloc[1] < 10  # 30 requests at 200/s
    assert len({tuple(sorted(p.pid for p in server)) for server, _ in watched}) == 2


@pytest.mark.slow
async def test_a_point_is_written_whole(tmp_path, watched):
    design = '[designs.a]\ncommand = "FAKE --replicas --mark X"\nsettings = {max_batch_size = [4], size = 2}\n'
    path = write_study(tmp_path, design)
    paths, _ = await sweep(path)
    point = paths.point("a-ideal-200rps-seed1")
    assert sorted(file.name for file in point.folder.iterdir()) == [
        *("manifest.json", "replicas.csv", "requests.csv", "schedule.csv", "server.log", "telemetry.csv")
    ]
    rows = REQUESTS.frame(point.requests)
    assert rows["status"].tolist() == ["ok"] * 30
    assert rows["exact_match"].tolist() == rows["f1"].tolist() == [1.0] * 30
    assert rows["recall_at_k"].tolist() == [1.0] * 30
    assert rows["queue_s"].tolist() == [0.0015] * 30
    assert rows["replica"].tolist() == ["fake"] * 30
    assert (rows["latency_s"] - (rows["done_s"] - rows["due_s"])).abs().max() < 2e-6
    manifest = json.loads(point.manifest.read_text())
    assert manifest["schedule_sha256"] == hashlib.sha256(point.schedule.read_bytes()).hexdigest()
    assert manifest["point"]["settings"] == {"max_batch_size": 4, "size": 2}
    assert manifest["server_info"]["argv"][-4:] == ["--max-batch-size", "4", "--size", "2"]
    assert set(manifest) >= {
        "seed",
        "git_commit",
        "git_dirty",
        "study_git_commit",
        "study_git_dirty",
        "versions",
        "hardware",
        "slurm",
        "started_at",
        "summary",
    }
    assert isinstance(manifest["client_goes_first"], bool)
    assert manifest["caches"]["warmup_requests"] == manifest["point"]["warmup_requests"]
    assert 0 <= manifest["caches"]["server_age_s"] < 60
    assert manifest["summary"]["replicas"] == 2
    assert "fake starts" in point.log.read_text()
    summary = load_summary(paths.summary)
    assert summary["point"].tolist() == ["a-ideal-200rps-seed1"]
    assert summary["completed"].tolist() == [30]
    assert summary["max_batch_size"].tolist() == [4]
    assert paths.study_toml.read_text() == path.read_text()
    assert not list(paths.root.glob(".*partial*"))
    assert not paths.live_log.exists()


@pytest.mark.slow
async def test_a_fleet_that_tells_its_decisions_has_them_on_the_clock_of_the_load(tmp_path):
    load = 'arrivals = ["step"]\nrates = [100]\nduration_s = 0.3'
    designs = '[designs.a]\ncommand = "FAKE --replicas --scaling"\n[designs.b]\ncommand = "FAKE --scaling"\n'
    paths, _ = await sweep(write_study(tmp_path, designs, load=load))
    point = paths.point("a-step-100rps-seed1")
    (decision,) = DECISIONS.read(point.scaling)  # the other was made before the point began
    assert 0.3 - 0.1 < decision.t_s < 10
    assert (decision.target, decision.reason) == (2, "queue wait")
    assert [start.start_s for start in STARTS.read(point.starts)] == [2.5]
    assert not paths.point("b-step-100rps-seed1").scaling.exists()  # no fleet: never asked
    summary = load_summary(paths.summary).set_index("design")
    assert summary.loc["a", "replica_seconds"] == pytest.approx(0.9)  # three in all, for 0.3 s
    assert summary.loc["a", "reaction_s"] == pytest.approx(decision.t_s - 0.33 * 0.3, abs=1e-5)
    assert summary.loc["a", "cold_start_s"] == 2.5
    assert summary.loc["b", list(SCALING)].isna().all()


async def test_all_designs_get_the_same_load(tmp_path):
    load = 'arrivals = ["poisson"]\nrates = [100]\nduration_s = 0.2'
    paths, _ = await sweep(write_study(tmp_path, ONE + '[designs.b]\ncommand = "FAKE"\n', load=load))
    texts = {path.read_text() for path in paths.root.glob("*/schedule.csv")}
    assert len(texts) == 1
    assert len(list(paths.root.glob("*/schedule.csv"))) == 2


@pytest.mark.slow
async def test_a_closed_loop_is_a_point_like_any_other(tmp_path):
    load = 'concurrency = [2]\nrates = [200]\narrivals = ["ideal"]\nrequests = 30\nready_timeout_s = 10.0'
    path = write_study(tmp_path, ONE, load=load)
    paths, plan = await sweep(path)
    assert sorted(point.name for point in plan.points) == ["a-closed-2users-seed1", "a-ideal-200rps-seed1"]
    point = paths.point("a-closed-2users-seed1")
    rows = REQUESTS.frame(point.requests)
    assert rows["status"].tolist() == ["ok"] * 30
    manifest = json.loads(point.manifest.read_text())
    assert (manifest["point"]["arrival"], manifest["point"]["concurrency"]) == ("closed", 2)
    assert manifest["schedule_sha256"] == hashlib.sha256(point.schedule.read_bytes()).hexdigest()
    summary = load_summary(paths.summary).set_index("arrival")
    assert summary.loc["closed", "concurrency"] == 2
    assert summary["offered_rps"].isna().to_dict() == {"ideal": False, "closed": True}
    assert len(make_plan(load_study(path), paths).whole) == 2


async def test_a_closed_loop_on_a_server_that_never_comes_fails(tmp_path):
    designs = '[designs.a]\ncommand = "FAKE --mode dies-at-start"\n'
    paths, _ = await sweep(write_study(tmp_path, designs, load="concurrency = [3]\nduration_s = 1.0"))
    rows = REQUESTS.frame(paths.point("a-closed-3users-seed1").requests)
    assert rows["status"].tolist() == ["unsent"] * 3
    assert load_summary(paths.summary)["verdict"].tolist() == ["failed"]


@pytest.mark.slow
async def test_a_load_from_two_processes_has_the_same_rows(tmp_path):
    load = 'arrivals = ["poisson"]\nrates = [200]\nrequests = 40\nprocesses = 2'
    paths, _ = await sweep(write_study(tmp_path, ONE, load=load))
    point = paths.point("a-poisson-200rps-seed1")
    rows = REQUESTS.frame(point.requests)
    assert rows["status"].tolist() == ["ok"] * 40
    due = [line.split(",")[1] for line in point.schedule.read_text().splitlines()[1:]]
    assert rows["due_s"].tolist() == [float(due_s) for due_s in due]
    assert (rows["sent_s"] >= rows["due_s"] - 1e-6).all()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
async def test_the_server_is_told_the_deadline(tmp_path, processes):
    load = f'arrivals = ["ideal"]\nrates = [100]\nrequests = 10\ndeadline_s = 1.5\nprocesses = {processes}'
    paths, _ = await sweep(write_study(tmp_path, ONE, load=load))
    assert REQUESTS.frame(paths.point("a-ideal-100rps-seed1").requests)["replica"].tolist() == ["fake 1.5"] * 10


@pytest.mark.slow
async def test_the_trace_of_a_point_is_in_its_manifest(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("offset_s,output_tokens\n" + "".join(f"{i},9\n" for i in range(11)))
    load = f'arrivals = ["trace:path={trace}"]\nrates = [100]\nrequests = 10'
    path = write_study(tmp_path, ONE, load=load)
    paths, plan = await sweep(path)
    manifest = json.loads(paths.point(plan.points[0].name).manifest.read_text())
    digest = hashlib.sha256(trace.read_bytes()).hexdigest()
    assert manifest["trace"] == {"sha256": digest, "arrivals": 11, "scale": 0.01}
    assert paths.point(plan.points[0].name).schedule.read_text().startswith("request,due_s,question,max_new_tokens\n")
    assert len(make_plan(load_study(path), paths).whole) == 1
    trace.write_text(trace.read_text() + "99,9\n")
    assert len(make_plan(load_study(path), paths).changed) == 1


@pytest.mark.slow
async def test_another_slo_is_no_other_measurement(tmp_path):
    path = write_study(tmp_path, ONE)
    paths, _ = await sweep(path)
    path.write_text(path.read_text().replace("seeds = [1]", "seeds = [1]\nslo = { latency_p95_s = 1.0 }"))
    assert len(make_plan(load_study(path), paths).whole) == 1


@pytest.mark.slow
async def test_one_launch_serves_all_its_points_and_the_log_is_cut_between_them(tmp_path):
    load = 'arrivals = ["ideal", "poisson"]\nrates = [100, 200]\nrequests = 5'
    paths, plan = await sweep(write_study(tmp_path, ONE, load=load))
    logs = [paths.point(point.name).log.read_text() for point in plan.points]
    assert [("fake starts" in log) for log in logs] == [True, False, False, False]


@pytest.mark.slow
async def test_broken_designs_fail_and_the_rest_goes_on(tmp_path):
    designs = """
    [designs.absent]
    command = "no-such-command"
    [designs.dead]
    command = "FAKE --mode dies-at-start"
    [designs.nowhere]
    url = "http://127.0.0.1:9"
    [designs.good]
    command = "FAKE"
    """
    paths, _ = await sweep(write_study(tmp_path, designs))
    summary = load_summary(paths.summary).set_index("design")
    assert (summary["verdict"] == "failed").to_dict() == {"absent": True, "dead": True, "nowhere": True, "good": False}
    assert summary.loc["dead", "verdict_reason"].startswith("the server exited with code 1 before its ready line")
    assert "no command 'no-such-command'" in summary.loc["absent", "verdict_reason"]
    assert "nothing answers at http://127.0.0.1:9" in summary.loc["nowhere", "verdict_reason"]
    assert REQUESTS.frame(paths.point("dead-ideal-200rps-seed1").requests)["status"].tolist() == ["unsent"] * 30
    assert "no model here" in paths.point("dead-ideal-200rps-seed1").log.read_text()
    assert paths.point("absent-ideal-200rps-seed1").log.read_text() == ""


@pytest.mark.slow
async def test_a_server_that_dies_in_a_load_fails_that_point_and_is_started_again(tmp_path):
    load = 'arrivals = ["ideal"]\nrates = [100, 200]\nrequests = 60'
    paths, plan = await sweep(write_study(tmp_path, '[designs.a]\ncommand = "FAKE --mode dies-mid-load"\n', load=load))
    for point in plan.points:
        rows = REQUESTS.frame(paths.point(point.name).requests)
        assert len(rows) == 60
        assert set(rows["status"]) <= {"ok", "connection_error", "reset", "unsent"}
        assert {"ok", "unsent"} < set(rows["status"])
        assert "fake starts" in paths.point(point.name).log.read_text()
    summary = load_summary(paths.summary)
    assert summary["verdict"].tolist() == ["failed", "failed"]
    assert summary["verdict_reason"].tolist() == ["the server was killed by SIGKILL"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "status", "reason"),
    [
        ("garbage", "bad_answer", "not JSON: <html>"),
        ("truncated", "truncated", "the answer was cut off"),
        ("breaks", "http_error", "500: inside"),
        ("hangs", "unsent", "0 of 2 warm-up requests were answered within 2 s (ready_timeout_s)"),
        ("bare", "ok", ""),
    ],
)
async def test_odd_services_are_measured_all_the_same(tmp_path, mode, status, reason):
    load = 'arrivals = ["ideal"]\nrates = [100]\nrequests = 5\ntimeout_s = 0.3\nready_timeout_s = 2.0'
    paths, _ = await sweep(write_study(tmp_path, f'[designs.a]\ncommand = "FAKE --mode {mode}"\n', load=load))
    rows = REQUESTS.frame(paths.point("a-ideal-100rps-seed1").requests)
    assert rows["status"].tolist() == [status] * 5
    assert reason in read_manifests(paths.root)[0]["summary"]["verdict_reason"]
    if mode == "bare":
        assert rows["queue_s"].isna().all()
        assert rows["exact_match"].tolist() == [1.0] * 5


@pytest.mark.slow
async def test_whole_points_are_skipped(tmp_path):
    path = write_study(tmp_path, ONE)
    paths, _ = await sweep(path)
    before = paths.point("a-ideal-200rps-seed1").manifest.stat().st_mtime_ns
    _, plan = await sweep(path)
    assert plan.launches == ()
    assert list(plan.whole) == ["a-ideal-200rps-seed1"]
    assert paths.point("a-ideal-200rps-seed1").manifest.stat().st_mtime_ns == before


@pytest.mark.slow
async def test_a_point_without_its_manifest_is_measured_again(tmp_path):
    path = write_study(tmp_path, ONE)
    paths, _ = await sweep(path)
    point = paths.point("a-ideal-200rps-seed1")
    point.manifest.unlink()
    point.requests.write_text("half")
    partial = paths.partial("a-ideal-200rps-seed1")
    partial.folder.mkdir()
    (partial.folder / "left.over").write_text("")
    _, plan = await sweep(path)
    assert len(plan.points) == 1
    assert len(REQUESTS.frame(point.requests)) == 30
    assert not (point.folder / "left.over").exists()


async def test_failed_points_are_measured_again(tmp_path):
    path = write_study(tmp_path, '[designs.a]\ncommand = "FAKE --mode dies-at-start"\n')
    await sweep(path)
    _, plan = await sweep(path)
    assert [point.name for point in plan.again] == [point.name for point in plan.points] == ["a-ideal-200rps-seed1"]


@pytest.mark.parametrize("verdict", ["contaminated", "client_limited"])
async def test_points_that_were_spoiled_are_measured_again_on_demand(tmp_path, verdict):
    path = write_study(tmp_path, ONE)
    paths, _ = await sweep(path)
    point = paths.point("a-ideal-200rps-seed1")
    manifest = read_manifest(point.manifest)
    write_manifest(point.manifest, manifest | {"summary": manifest["summary"] | {"verdict": verdict}})
    assert make_plan(load_study(path), paths).points == []
    plan = make_plan(load_study(path), paths, redo="invalid")
    assert [found.name for found in plan.again] == [found.name for found in plan.points] == ["a-ideal-200rps-seed1"]
    for kept in ("valid", "failing", "saturated", "shedding"):
        write_manifest(point.manifest, manifest | {"summary": manifest["summary"] | {"verdict": kept}})
        assert make_plan(load_study(path), paths, redo="invalid").points == []


@pytest.mark.slow
async def test_changed_points_wait_for_the_word(tmp_path):
    path = write_study(tmp_path, ONE)
    paths, _ = await sweep(path)
    path.write_text(path.read_text().replace("requests = 30", "requests = 31"))
    plan = make_plan(load_study(path), paths)
    assert plan.changed == {"a-ideal-200rps-seed1": "requests 30 -> 31"}
    assert plan.points == []
    await sweep(path, redo="changed")
    assert len(REQUESTS.frame(paths.point("a-ideal-200rps-seed1").requests)) == 31
    assert make_plan(load_study(path), paths).changed == {}


async def test_a_change_of_the_questions_is_a_change(tmp_path):
    path = write_study(tmp_path, ONE)
    paths, _ = await sweep(path)
    questions = tmp_path / "questions.jsonl"
    questions.write_text(questions.read_text().replace("Say w3?", "Say w33?"))
    assert make_plan(load_study(path), paths).changed == {"a-ideal-200rps-seed1": "the questions file"}


@pytest.mark.slow
async def test_a_longer_start_is_no_change(tmp_path):
    path = write_study(tmp_path, ONE)
    paths, _ = await sweep(path)
    path.write_text(path.read_text().replace("ready_timeout_s = 10.0", "ready_timeout_s = 20.0"))
    assert len(make_plan(load_study(path), paths).whole) == 1


@pytest.mark.slow
async def test_points_of_an_earlier_study_are_named(tmp_path):
    path = write_study(tmp_path, ONE)
    paths, _ = await sweep(path)
    path.write_text(path.read_text().replace("rates = [200]", "rates = [60]"))
    assert make_plan(load_study(path), paths).others == ("a-ideal-200rps-seed1",)


@pytest.mark.slow
async def test_redo_all_takes_everything(tmp_path):
    path = write_study(tmp_path, ONE)
    await sweep(path)
    plan = make_plan(load_study(path), StudyPaths(tmp_path / "results"), redo="all")
    assert len(plan.points) == 1


async def test_two_runs_never_share_a_folder(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    path = write_study(tmp_path, ONE)
    paths = StudyPaths(tmp_path / "results")
    paths.root.mkdir()
    with paths.lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StudyError, match="another run is writing to"):
            await sweep(path)
    assert read_manifests(paths.root) == []


async def test_a_service_that_runs_elsewhere_is_measured_and_left_alone(tmp_path, elsewhere):
    path = write_study(tmp_path, f'[designs.far]\nurl = "{elsewhere}"\nsettings = {{ place = "far" }}\n')
    paths, _ = await sweep(path)
    summary = load_summary(paths.summary)
    assert summary["completed"].tolist() == [30]
    assert summary["place"].tolist() == ["far"]
    assert len(fakes_alive(tmp_path)) == 1


@pytest.mark.slow
async def test_the_backlog_of_one_point_is_drained_before_the_next(tmp_path):
    load = 'arrivals = ["ideal"]\nrates = [100, 200]\nrequests = 20\ntimeout_s = 0.2'
    paths, plan = await sweep(write_study(tmp_path, '[designs.a]\ncommand = "FAKE --service-s 0.04"\n', load=load))
    first, second = (REQUESTS.frame(paths.point(point.name).requests)["status"].tolist() for point in plan.points)
    assert first[-1] == "timeout"  # work was left behind
    assert second[0] == "ok"


def test_the_shipped_smoke_study_names_real_flags():
    text = (Path(__file__).parents[3] / "studies" / "smoke.toml").read_text()
    assert re.findall(r"servers (\w+)", text) == ["baseline", "batched", "scaled"]
    assert tomllib.loads(text)["load"]["ready_timeout_s"] >= 60
