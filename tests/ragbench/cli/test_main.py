import ast
import importlib
import inspect
import json
import math
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from ragbench.__main__ import COMMANDS, help_of
from ragbench.results.records import REQUESTS, load_summary
from tests.ragbench.running import background, fakes_alive, ragbench, write_questions, write_study

ONE = '[designs.a]\ncommand = "FAKE"\n'
LONG = 'arrivals = ["ideal"]\nrates = [50, 51]\nduration_s = 60'


def test_run_plan_and_run_again(call, tmp_path):
    study, results = write_study(tmp_path, ONE), tmp_path / "results"
    code, out, _ = call("run", study, "--dry-run", "--results", results)
    assert code == 0
    assert "1 point to measure, 0 whole" in out
    assert "latency p99: no interval in 1 of 1 points" in out
    assert not results.exists()
    code, out, err = call("run", study, "--results", results, "--no-report")
    assert code == 0
    assert "[1/1] a-ideal-200rps-seed1" in err
    assert "a-ideal-200rps-seed1" in out
    assert str(results / "study" / "summary.csv") in out
    code, out, err = call("run", study, "--results", results, "--no-report")
    assert code == 0
    assert "kept: 1 point (" in err
    assert "[1/1]" not in err
    assert "0 points to measure, 1 whole" in call("run", study, "--dry-run", "--results", results)[1]
    (results / "study" / "summary.csv").unlink()
    assert call("report", results / "study", "--no-page")[0] == 0
    assert (results / "study" / "summary.csv").exists()


def test_run_ends_with_the_report(call, tmp_path, monkeypatch):
    built = []
    monkeypatch.setitem(sys.modules, "ragbench.report.page", SimpleNamespace(build=built.append))
    code, out, _ = call("run", write_study(tmp_path, ONE), "--results", tmp_path / "results")
    assert code == 0
    assert built == [tmp_path / "results" / "study"]
    assert all(str(built[0] / name) in out for name in ("summary.csv", "figures", "report.html"))


@pytest.mark.slow
def test_run_ends_with_the_intervals_that_are_lacking(call, tmp_path, monkeypatch):
    monkeypatch.setattr("ragbench.cli.run.left_empty", lambda rows: [f"{row['point']}: too short" for row in rows])
    assert (
        "a-ideal-200rps-seed1: too short"
        in call("run", write_study(tmp_path, ONE), "--results", tmp_path / "results", "--no-report")[2].splitlines()
    )


@pytest.mark.slow
def test_a_report_that_fails_is_told_and_the_results_stand(call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ragbench.report.page", SimpleNamespace(build=lambda folder: 1 / 0))
    code, _, err = call("run", write_study(tmp_path, ONE), "--results", tmp_path / "results")
    assert code == 1
    assert "ZeroDivisionError" in err
    assert "the results are whole" in err


@pytest.mark.slow
def test_failed_points_make_the_exit_code(call, tmp_path):
    designs = ONE + '[designs.b]\ncommand = "FAKE --mode dies-at-start"\n'
    code, out, err = call("run", write_study(tmp_path, designs), "--results", tmp_path / "r", "--no-report")
    assert code == 1
    assert "1 of 2 points failed" in err
    assert "its log ends:\n    fake starts in mode dies-at-start\n    no model here" in err
    assert "failed" in out


@pytest.mark.slow
def test_changed_settings_are_refused_with_a_clear_line(call, tmp_path):
    study = write_study(tmp_path, ONE)
    call("run", study, "--results", tmp_path / "r", "--no-report")
    study.write_text(study.read_text().replace("requests = 30", "requests = 31"))
    code, _, err = call("run", study, "--results", tmp_path / "r", "--no-report")
    assert code == 2
    assert "1 point in" in err
    assert "requests 30 -> 31" in err
    assert "--redo changed" in err
    code, _, err = call("run", study, "--results", tmp_path / "r", "--no-report", "--redo", "changed")
    assert code == 0
    assert "changed and measured again: 1 point, e.g. " in err


def rewrite(results, change):
    """Change the manifest of the only point."""
    (path,) = results.glob("study/*/manifest.json")
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.slow
def test_spoiled_points_are_offered_again_in_the_last_line(call, tmp_path):
    study, results = write_study(tmp_path, ONE), tmp_path / "r"
    call("run", study, "--results", results, "--no-report")
    rewrite(results, lambda manifest: manifest["summary"].update(verdict="contaminated"))
    _, _, err = call("run", study, "--results", results, "--no-report")
    last = err.splitlines()[-1]
    assert last == (
        f"1 contaminated; to measure them again: python -m ragbench run {study} --results {results} --redo invalid"
    )
    _, _, err = call("run", study, "--results", results, "--no-report", "--redo", "invalid")
    assert "measured again: 1 point" in err
    assert "[1/1]" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda manifest: manifest["hardware"].update(hostname="other"), "measured on"),
        (lambda manifest: manifest["summary"].update(hardware="PDP-11"), "measured on PDP-11 ("),
        (lambda manifest: manifest.update(code_sha256="0" * 64), "measured with the code 000000000000 (commit "),
    ],
)
def test_points_of_another_machine_or_code_are_joined_only_on_demand(call, tmp_path, change, told):
    study, results = write_study(tmp_path, ONE), tmp_path / "r"
    call("run", study, "--results", results, "--no-report")
    rewrite(results, change)
    assert call("run", study, "--results", results, "--no-report")[0] == 0, "nothing is left to measure"
    study.write_text(study.read_text().replace("rates = [200]", "rates = [200, 100]"))
    code, _, err = call("run", study, "--results", results, "--no-report")
    assert code == 2
    assert f"points in {results / 'study'} {told}" in err
    assert err.splitlines()[-1].startswith("go on with --mixed")
    code, _, err = call("run", study, "--results", results, "--no-report", "--mixed")
    assert "kept all the same (--mixed): measured" in err
    assert len(load_summary(results / "study" / "summary.csv")) == 2


@pytest.mark.slow
def test_whether_one_text_is_an_error_is_judged_again_without_measuring(call, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "ragbench.statistics.verdicts.OTHER_CORES", math.inf
    )  # another program here is not the question
    study, results = write_study(tmp_path, '[designs.a]\ncommand = "FAKE --mode one-text"\n'), tmp_path / "r"
    assert call("run", study, "--results", results, "--no-report")[0] == 1
    (row,) = load_summary(results / "study" / "summary.csv").to_dict("records")
    assert row["verdict"] in ("failing", "client_limited")
    study.write_text(study.read_text().replace("[workload]", "[workload]\nsame_answers = true"))
    code, _, err = call("run", study, "--results", results, "--no-report")
    assert (code, "judged again with same_answers = true" in err, "[1/1]" in err) == (0, True, False)


@pytest.mark.slow
def test_another_slo_judges_what_was_measured_before(call, tmp_path):
    study = write_study(tmp_path, ONE)
    call("run", study, "--results", tmp_path / "r", "--no-report")
    requests = tmp_path / "r" / "study" / "a-ideal-200rps-seed1" / "requests.csv"
    before = requests.stat().st_mtime_ns
    text = study.read_text()
    for limit_s, met in ((9.0, True), (1e-6, False)):
        study.write_text(text.replace("seeds = [1]", f"seeds = [1]\nslo = {{ latency_p95_s = {limit_s} }}"))
        code, _, err = call("run", study, "--results", tmp_path / "r", "--no-report")
        assert code == 0
        assert f"judged again by the slo of the study: latency_p95_s <= {limit_s:g}" in err
        assert load_summary(tmp_path / "r" / "study" / "summary.csv")["slo_met"].tolist() == [met]
    assert "judged again" not in call("run", study, "--results", tmp_path / "r", "--no-report")[2]
    assert requests.stat().st_mtime_ns == before


@pytest.mark.slow
def test_another_slo_and_another_rule_are_both_kept(call, tmp_path):
    study, results = write_study(tmp_path, ONE), tmp_path / "r"
    call("run", study, "--results", results, "--no-report")
    text = study.read_text().replace("[workload]", "[workload]\nsame_answers = true")
    study.write_text(text.replace("seeds = [1]", "seeds = [1]\nslo = { latency_p95_s = 1e-6 }"))
    _, _, err = call("run", study, "--results", results, "--no-report")
    assert err.count("judged again") == 2
    assert load_summary(results / "study" / "summary.csv")["slo_met"].tolist() == [False]


@pytest.mark.slow
def test_results_of_an_older_ragbench_are_a_line(call, tmp_path):
    study, results = write_study(tmp_path, ONE), tmp_path / "r"
    call("run", study, "--results", results, "--no-report")
    rewrite(results, lambda manifest: manifest["point"].update(variant=manifest["point"].pop("design")))
    folder = results / "study"
    for command in (
        ("run", study, "--results", results),
        ("run", study, "--dry-run", "--results", results),
        *(("report", folder, *flags) for flags in ((), ("--recompute",), ("--answers",))),
        ("simulate", folder),
        ("compare", folder, folder),
    ):
        code, _, err = call(*command)
        assert code == 2
        assert "is not of this ragbench: its point has no design. Move the folder away" in err


def test_mistakes_are_lines_and_code_2(tmp_path):
    study = write_study(tmp_path, '[designs.a]\ncomand = "x"\n', load="rates = [0]\nduration_s = 1")
    done = ragbench("run", study)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"{study}: [load] rates must be > 0, got 0",
        f"{study}: [designs.a] has an unknown key 'comand'; did you mean command? "
        "valid: command, url, ca_file, wire, settings, load",
        f"{study}: [designs.a] exactly one of command and url is needed, got neither",
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("run", "absent"), "no study at 'absent'"),
        (("run", "absent", "--dry-run"), "no study at 'absent'"),
        (("report", "absent", "--slo", "latency_p95_s=1"), "no whole point in absent"),
        (("report", "absent", "--answers", "--recompute"), "--answers compares answers alone"),
        (("report", "absent", "--reference", "a"), "--reference goes with --answers"),
        (("plan", "smoke"), "`ragbench plan` is now `ragbench run STUDY --dry-run`"),
        (("summarise", "absent"), "`ragbench summarise` is now `ragbench report FOLDER --slo KEY=VALUE, or"),
        (("answers", "absent"), "`ragbench answers` is now `ragbench report FOLDER --answers`"),
        (("arrivals",), "`ragbench arrivals` is now `ragbench calibrate --arrivals`"),
        (("report", "absent"), "no whole point in absent"),
        (("load", "--url", "http://x", "--rate", "0", "--requests", "5"), "[load] rates must be > 0, got 0"),
        (("load", "--url", "http://x", "--rate", "nan", "--requests", "5"), "[load] rates: each must be a number"),
        (("load", "--url", "http://x", "--rate", "5", "--out", __file__), "--out must be a folder, got the file"),
        (("load", "--url", "http://x", "--rate", "5"), "exactly one of duration_s and requests is needed, got neither"),
        (("load", "--url", "x", "--rate", "5", "--requests", "5"), "url must look like"),
        (
            ("load", "--url", "http://x", "--rate", "5", "--requests", "5", "--arrival", "y"),
            "'y' is unknown (known: ideal",
        ),
        (("load", "--url", "http://x", "--rate", "5", "--requests", "5", "--questions", "y"), "no questions at 'y'"),
        (("load", "--url", "http://x", "--requests", "5"), "--concurrency (closed loop) is needed, got neither"),
        (("load", "--url", "http://x", "--requests", "5", "--rate", "5", "--concurrency", "5"), "needed, got both"),
        (("load", "--url", "http://x", "--requests", "5", "--concurrency", "0"), "concurrency must be >= 1, got 0"),
        (("load", "--url", "http://x", "--requests", "5", "--rate", "5", "--slo", "p95=1"), "--slo: unknown slo 'p95'"),
        (
            ("load", "--url", "http://x", "--requests", "5", "--rate", "5", "--processes", "0"),
            "processes must be >= 1, got 0",
        ),
        (
            ("load", "--url", "http://x", "--requests", "5", "--rate", "5", "--arrival", "trace:path=absent.csv"),
            "[load] arrivals: no trace at 'absent.csv'",
        ),
    ],
)
def test_mistakes_on_the_command_line(call, arguments, line):
    code, out, err = call(*arguments)
    assert code == 2
    assert out == ""
    assert line in err
    assert "Traceback" not in err


def test_load_prints_the_table_and_writes_the_rows(call, monkeypatch, tmp_path, elsewhere):
    questions = write_questions(tmp_path)
    monkeypatch.setattr("ragbench.statistics.verdicts.LATE_S", math.inf)  # late sends are not the question
    code, out, err = call(
        *("load", "--url", elsewhere, "--arrival", "poisson", "--rate", "200", "--requests", "40"),
        *("--questions", questions, "--out", tmp_path / "out"),
    )
    assert "completed" in out
    assert " 40 " in out
    assert len(REQUESTS.frame(tmp_path / "out" / "service-poisson-200rps-seed1" / "requests.csv")) == 40
    assert code == 0, err


@pytest.mark.slow
def test_a_closed_loop_from_two_processes_with_an_slo(call, monkeypatch, tmp_path, elsewhere):
    monkeypatch.setattr("ragbench.statistics.verdicts.LATE_S", math.inf)
    code, out, err = call(
        *("load", "--url", elsewhere, "--concurrency", "3", "--processes", "2", "--requests", "40"),
        *("--questions", write_questions(tmp_path), "--slo", "latency_p95_s=5", "--out", tmp_path / "out"),
    )
    assert code == 0, err
    folder = tmp_path / "out" / "service-closed-3users-seed1"
    rows = REQUESTS.frame(folder / "requests.csv")
    assert len(rows) == 40
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["point"]["concurrency"] == 3
    assert manifest["point"]["offered_rps"] is None
    assert manifest["point"]["processes"] == 2
    assert manifest["point"]["slo"] == {"latency_p95_s": 5.0, "attainment": 0.95}
    assert manifest["summary"]["slo_met"] is True
    assert "slo_met" in out


@pytest.mark.slow
def test_no_sender_outlives_a_harness_that_is_killed(elsewhere):
    run = background("load", "--url", elsewhere, "--rate", "5", "--duration-s", "60", "--processes", "2")
    harness = psutil.Process(run.pid)
    deadline_s = time.monotonic() + 30
    senders = []
    while len(senders) < 2 and time.monotonic() < deadline_s:
        senders = [child for child in harness.children() if "ragbench.load.sender" in child.cmdline()]
    run.kill()
    run.communicate(timeout=10)
    assert len(senders) == 2
    _, alive = psutil.wait_procs(senders, timeout=20)
    assert alive == []


@pytest.mark.slow
def test_a_load_that_is_stopped_is_one_line(elsewhere):
    run = background("load", "--url", elsewhere, "--rate", "5", "--duration-s", "60")
    assert run.stderr is not None
    assert run.stderr.readline().startswith("[1/1]")
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=10)
    assert (run.returncode, out, err) == (130, "", "stopped by SIGINT\n")


def test_load_at_nothing_is_one_line(call):
    code, out, err = call("load", "--url", "http://127.0.0.1:9", "--rate", "5", "--requests", "5")
    assert code == 1
    assert out == ""
    lines = err.splitlines()
    assert lines[-1].startswith("nothing answers at http://127.0.0.1:9: Connection refused")
    assert len(lines) <= 2


@pytest.mark.slow
def test_what_was_being_measured_again_goes_on_with_the_same_flags(tmp_path):
    """Without them the points that were still to be measured again would be kept."""
    study = write_study(tmp_path, f'{ONE}settings = {{ mark = "{tmp_path}" }}\n', load=LONG)
    flags = ("--redo", "invalid", "--mixed")
    run = background("run", study, "--results", tmp_path / "results", "--no-report", *flags)
    assert run.stderr is not None
    run.stderr.readline()
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=20)
    assert f"To go on: python -m ragbench run {study} --results {tmp_path / 'results'} {' '.join(flags)}" in err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_whole(tmp_path, number, code):
    study = write_study(tmp_path, f'{ONE}settings = {{ mark = "{tmp_path}" }}\n', load=LONG)
    run = background("run", study, "--results", tmp_path / "results", "--no-report")
    assert run.stderr is not None
    assert run.stdout is not None
    line = run.stderr.readline()
    assert line.startswith("[1/2]")
    began = time.monotonic()
    run.send_signal(number)
    _, err = run.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert run.returncode == code
    assert f"stopped by {number.name}; kept: 0 points. To go on: python -m ragbench run {study}" in err
    assert "Traceback" not in err
    assert fakes_alive(tmp_path) == []
    assert list((tmp_path / "results" / "study").glob("*/*")) == []


@pytest.mark.slow
def test_a_signal_while_a_server_ignores_it(tmp_path):
    design = f'[designs.a]\ncommand = "FAKE --mode ignores-sigterm"\nsettings = {{ mark = "{tmp_path}" }}\n'
    run = background("run", write_study(tmp_path, design, load=LONG), "--results", tmp_path / "r", "--no-report")
    assert run.stderr is not None
    run.stderr.readline()
    began = time.monotonic()
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert run.returncode == 143
    assert fakes_alive(tmp_path) == []


def measured(folder):
    """What a study measured: of each point in summary.csv its schedule and how many requests came to what end."""
    counts = ["requests", "completed", "rejected", "timed_out", "failed", "unsent"]
    summary = load_summary(folder / "summary.csv").sort_values("point")
    points = summary["point"].tolist()
    schedules = [(folder / point / "schedule.csv").read_text() for point in points]
    assert sorted(path.parent.name for path in folder.glob("*/manifest.json")) == points
    return list(zip(points, schedules, summary[counts].to_numpy().tolist(), strict=True))


@pytest.mark.slow
def test_killed_in_the_middle_it_is_resumed_with_every_point_once(tmp_path, call):
    load = 'arrivals = ["ideal", "poisson"]\nrates = [100, 101]\nrequests = 40'
    study = write_study(tmp_path, f'{ONE}settings = {{ mark = "{tmp_path}" }}\n', load=load)
    run = background("run", study, "--results", tmp_path / "results", "--no-report")
    assert run.stderr is not None
    for line in run.stderr:
        if line.startswith("[3/4]"):
            break
    run.kill()
    run.communicate(timeout=10)
    results = tmp_path / "results" / "study"
    whole = {path: path.read_text() for path in results.glob("*/manifest.json")}
    assert len(whole) == 2
    code, _, err = call("run", study, "--results", tmp_path / "results", "--no-report")
    assert code == 0
    assert "kept: 2 points (" in err
    assert {path: path.read_text() for path in whole} == whole
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in fakes_alive(tmp_path)], timeout=10)
    assert alive == []
    call("run", study, "--results", tmp_path / "undisturbed", "--no-report")
    assert measured(results) == measured(tmp_path / "undisturbed" / "study")
    assert len(measured(results)) == 4


@pytest.mark.timing
def test_a_stall_shows_in_the_open_loop_and_hides_from_the_closed_one(tmp_path):
    # 50/s for 4 s is 200 requests. The server answers nothing for 2 s, so 100 of them are held up, for 2.00, 1.98, ...
    # 0.02 s. The slowest 1% of 200 are 2: the 99th percentile lies at 1.96 s, the median of all at a few ms, the 75th
    # percentile at 1 s. In the closed loop each of the two users is held up once; of some 1000 answers that is 2.
    loads = {
        "open": 'arrivals = ["ideal"]\nrates = [50]\nduration_s = 4.0\nwarmup_requests = 8',
        "closed": "concurrency = [2]\nduration_s = 4.0\nwarmup_requests = 8",
    }
    design = '[designs.a]\ncommand = "FAKE --mode stalls --service-s 0.002"\n'
    running = []
    for name, load in loads.items():
        study = write_study(tmp_path, design, load=load, name=name)
        study.write_text(study.read_text().replace("warmup_requests = 2\n", ""))
        running.append(background("run", study, "--results", tmp_path, "--no-report"))
    for run in running:
        _, err = run.communicate(timeout=40)
        assert run.returncode == 0, err
    latencies = [
        REQUESTS.frame(tmp_path / name / point / "requests.csv")["latency_s"]
        for name, point in (("open", "a-ideal-50rps-seed1"), ("closed", "a-closed-2users-seed1"))
    ]
    assert len(latencies[0]) == 200
    assert latencies[0].quantile(0.99) == pytest.approx(1.96, abs=0.1)
    assert latencies[0].quantile(0.75) == pytest.approx(1.0, abs=0.1)
    assert len(latencies[1]) > 300
    assert sum(latencies[1] > 0.5) == 2
    assert latencies[1].quantile(0.99) < 0.1


def test_threads_are_none_afterwards(call, tmp_path):
    before = threading.active_count()
    call("run", write_study(tmp_path, ONE), "--results", tmp_path / "r", "--no-report")
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("arguments", "code", "imported"),
    [
        (("--help",), 0, []),
        (("--version",), 0, []),
        (("rnu", "smoke"), 2, []),
        (("doctor", "--frobnicate"), 2, ["scipy", "ragbench.cli.doctor"]),
        (("load", "--rate", "5"), 2, ["scipy", "ragbench.cli.load"]),
    ],
)
def test_help_and_mistakes_import_no_other_command(arguments, code, imported):
    script = (
        "import sys; from ragbench.__main__ import main, COMMANDS\n"
        "try: main()\nexcept SystemExit as end: code = end.code or 0\n"
        "names = ['pandas', 'matplotlib', 'scipy', *(f'ragbench.cli.{name}' for name in COMMANDS)]\n"
        "print([name for name in names if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, ast.literal_eval(done.stderr.splitlines()[-1])) == (code, imported)


def test_help_lists_every_command_with_its_docstring(call):
    code, out, _ = call("--help")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines() if line.startswith("│ ") and line[2] != " "][-11:] == list(
        COMMANDS
    )
    for name in COMMANDS:
        function = getattr(importlib.import_module(f"ragbench.cli.{name}"), name)
        assert help_of(name) == inspect.getdoc(function)
        assert call(name, "--help")[1].partition(" [OPTIONS]")[0].endswith(f" {name}")
