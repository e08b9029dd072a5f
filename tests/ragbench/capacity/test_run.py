import csv
import re
import signal
from dataclasses import replace

import pytest

from ragbench.capacity.run import Plan, Searcher, first_points, load_of
from ragbench.capacity.table import CAPACITY, Capacity, write_row
from ragbench.files.toml_tables import StudyError
from ragbench.measure.point import look_around
from ragbench.measure.progress import Progress
from ragbench.measure.runner import Runner
from ragbench.results.paths import StudyPaths
from ragbench.results.records import Row, load_summary
from ragbench.results.slo import Slo
from ragbench.study.questions import load_questions
from ragbench.study.study_file import load_study
from tests.ragbench.running import background, fakes_alive, write_study

SLO = Slo({"latency_p95_s": 1.0})
VALID = {"verdict": "valid", "verdict_reason": "", "window_start_s": 0.5, "window_end_s": 4.99} | {
    "offered_rps": 105.0,
}


def rows(*, rate, served):
    """Five seconds of evenly spaced requests at `rate` on a server that answers `served` a second, in turn."""
    due = [n / rate for n in range(round(5 * rate))]
    free, found = 0.0, []
    for n, at in enumerate(due):
        free = max(free, at) + 1 / served
        found.append(Row(n, "q", at, at, free, free - at, 0.0, "ok", 200))
    return found


@pytest.mark.parametrize(
    ("changes", "kept", "is_service"),
    [
        ({}, True, True),
        ({"rate": 150}, False, True),
        ({"verdict": "saturated"}, False, True),
        ({"verdict": "shedding"}, False, True),
        ({"verdict": "failing"}, False, True),
        ({"verdict": "failed"}, False, True),
        ({"verdict": "client_limited"}, False, False),
        ({"verdict": "contaminated"}, True, True),
        ({"verdict": "contaminated", "rate": 150}, False, False),
    ],
)
def test_verdict_and_promise_decide(changes, kept, is_service):
    measured = rows(rate=changes.pop("rate", 50), served=100)
    found = load_of(measured, VALID | changes, slo=SLO, tolerance=0.1)
    assert (found.kept, found.is_service) == (kept, is_service)


def test_a_request_without_an_answer_is_late():
    measured = [replace(row, status="http_error") if row.request % 10 == 0 else row for row in rows(rate=50, served=99)]
    found = load_of(measured, VALID, slo=SLO, tolerance=0.1)
    assert found.burn_rate == pytest.approx(2.0, rel=0.05)
    assert found.reason == "the SLO was not kept"


def test_a_load_that_failed_beside_another_program_is_not_kept():
    measured = [
        replace(row, status="http_error") if row.request % 20 == 0 else row for row in rows(rate=50, served=100)
    ]
    found = load_of(measured, VALID | {"verdict": "contaminated"}, slo=SLO, tolerance=0.1)
    assert (found.kept, found.is_service) == (False, False)
    alike = [replace(row, question=f"q{row.request}", result="sorry") for row in rows(rate=50, served=100)]
    for same_answers in (True, False):
        found = load_of(alike, VALID | {"verdict": "contaminated"}, slo=SLO, tolerance=0.1, same_answers=same_answers)
        assert found.kept == same_answers


def test_how_long_it_takes_is_known_beforehand():
    assert Plan(SLO).load_s == 60
    assert Plan(SLO, duration_s=5.0).bias == pytest.approx(0.12)
    assert Plan(SLO, duration_s=9.0, most_loads=20).lasts_s(3) == (300, 600)


SWEPT = '[designs.a]\ncommand = "FAKE"\nsettings = {{ max_batch_size = [4, 8], mark = "{mark}" }}\n'
QUICK = ("--slo", "latency_p95_s=0.1", "--duration-s", "0.5", "--tolerance", "1", "--arrival", "ideal")


def test_designs_are_each_probed_once_and_started_at_the_lowest_rate(tmp_path):
    study = load_study(write_study(tmp_path, SWEPT.format(mark=tmp_path)))
    points = first_points(study, Plan(SLO, arrival="ideal"))
    assert sorted(point.configuration.name for point in points) == ["a-max_batch_size=4", "a-max_batch_size=8"]
    assert {(point.offered_rps, point.load.duration_s, point.load.requests) for point in points} == {(200, 60.0, None)}
    assert [p.configuration.name for p in first_points(study, Plan(SLO), design="a-max_batch_size=8")] == [
        "a-max_batch_size=8"
    ]
    with pytest.raises(StudyError, match="no design 'b' in study study; there: a-max_batch_size=4, a-max_batch"):
        first_points(study, Plan(SLO), design="b")


@pytest.mark.slow
def test_capacity_is_found_written_and_resumed(call, tmp_path):
    # The fake sleeps 40 ms an answer, one at a time: 25/s.
    design = f'[designs.a]\ncommand = "FAKE --service-s 0.04"\nsettings = {{ mark = "{tmp_path}" }}\n'
    study, results = write_study(tmp_path, design), tmp_path / "results"
    arguments = (
        "capacity",
        study,
        "--results",
        results,
        *QUICK,
        "--start",
        "20",
        "--duration-s",
        "1.2",
        "--most-loads",
        "3",
        "--tolerance",
        "0.5",
    )
    _, out, err = call(*arguments)
    assert err.startswith(
        "1 design, up to 3 loads of 1.2 s each: 0.1 to 0.1 minutes. A load begins with an empty queue"
    )
    folder = results / "study-capacity"
    (row,) = csv.DictReader((folder / "capacity.csv").read_text().splitlines())
    assert float(row["low_rps"]) == 19  # 20, but for the bias of 5%
    assert float(row["high_rps"]) in (28.28, 40)  # what another program disturbed is not held against the service
    assert (row["configuration"], row["probes"], row["points"], row["load_s"]) == ("a", "3", "3", "1.2")
    assert row["bias"] == "0.0500"
    assert re.search(r"a at 20/s: \S+ times what the SLO allows; between 20 and \?/s; next 40/s", err)
    assert re.search(r"low rps.*high rps", out)
    summary = load_summary(folder / "summary.csv")
    assert len(summary) == int(row["points"])
    assert set(summary["slo_met"]) == {True, False}
    assert (folder / "figures" / "capacity.png").is_file()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/manifest.json")}
    whole = set(summary.loc[~summary["verdict"].isin(["contaminated", "client_limited"]), "point"])
    call(*arguments)
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path for path in before if after[path] != before[path]} <= {
        path for path in before if path.parent.name not in whole
    }
    assert fakes_alive(tmp_path) == []


@pytest.mark.parametrize(("verdicts", "kept"), [(["client_limited", "valid"], True), (["client_limited"] * 3, False)])
async def test_a_rate_that_the_client_missed_is_tried_again(tmp_path, monkeypatch, verdicts, kept):
    study = load_study(write_study(tmp_path, f'[designs.a]\ncommand = "FAKE"\nsettings = {{ mark = "{tmp_path}" }}\n'))
    plan = Plan(SLO, "ideal", start_rps=50, most_loads=1)
    questions = load_questions(study.workload.questions)
    (first,) = first_points(study, plan)
    searcher, told = Searcher(plan, Runner(StudyPaths(tmp_path), questions, look_around(), Progress())), []

    async def measured(point):
        told.append(verdicts[len(told)])
        return rows(rate=50, served=100), VALID | {"offered_rps": 50.0, "verdict": told[-1]}

    monkeypatch.setattr(searcher, "_measured", measured)
    assert (await searcher.search(first)).capacity_rps == (50 if kept else None)
    assert told == verdicts


@pytest.mark.slow
def test_a_server_that_does_not_start_is_told_and_the_others_go_on(call, tmp_path):
    designs = (
        '[designs.a]\ncommand = "FAKE --mode dies-at-start"\n'
        f'[designs.b]\ncommand = "FAKE"\nsettings = {{ mark = "{tmp_path}" }}\n'
    )
    study = write_study(tmp_path, designs)
    code, _, err = call("capacity", study, "--results", tmp_path / "r", *QUICK, "--most-loads", "1")
    assert code == 1
    assert "no model here" in err
    rows = {
        row["configuration"]: row
        for row in csv.DictReader((tmp_path / "r/study-capacity/capacity.csv").read_text().splitlines())
    }
    assert rows["a"]["resolved"] == rows["b"]["resolved"] == "false"
    assert rows["a"]["reason"].startswith("the server exited with code")
    assert rows["b"]["reason"].startswith("no rate broke the SLO, up to 200/s")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "no SLO: give --slo latency_p95_s=1.0"),
        (("--slo", "latency_p42_s=1"), "--slo: unknown slo 'latency_p42_s'; known: latency_s"),
        (("--slo", "latency_s=1", "--arrival", "monday"), "--arrival: "),
        (("--slo", "latency_s=1", "--tolerance", "0"), "--tolerance must be a share"),
        (("--slo", "latency_s=1", "--start", "-1"), "--start must be a rate > 0, got -1"),
        (("--slo", "latency_s=1", "--most-loads", "0"), "--most-loads must be >= 1"),
        (("--slo", "latency_s=1", "--duration-s", "0"), "--duration-s must be > 0, got 0"),
        (("--slo", "latency_s=1", "--design", "z"), "no design 'z' in study study"),
    ],
)
def test_mistakes_are_one_line(call, tmp_path, arguments, line):
    study = write_study(tmp_path, '[designs.a]\ncommand = "FAKE"\n')
    code, out, err = call("capacity", study, "--results", tmp_path / "r", *arguments)
    assert (code, out) == (2, "")
    assert line in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_signal_stops_it_whole(tmp_path):
    study = write_study(tmp_path, f'[designs.a]\ncommand = "FAKE"\nsettings = {{ mark = "{tmp_path}" }}\n')
    slow = ("--slo", "latency_s=1", "--duration-s", "2", "--start", "20", "--arrival", "ideal")
    run = background("capacity", study, "--results", tmp_path / "r", *slow)
    assert run.stderr is not None
    assert run.stderr.readline().startswith("1 design, up to 30 loads of 2 s each")
    assert run.stderr.readline() == "[1] a-ideal-20rps-seed1\n"
    assert run.stderr.readline().startswith("[1] a at 20/s: ")
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=20)
    assert run.returncode == 130
    assert "stopped by SIGINT; whole loads are kept" in err
    assert "Traceback" not in err
    assert fakes_alive(tmp_path) == []
    assert len(load_summary(tmp_path / "r/study-capacity/summary.csv")) == 1


async def test_a_whole_load_needs_no_server(tmp_path):
    """A search that was done is told from its files alone, even where the server no longer starts."""
    path = write_study(tmp_path, f'[designs.a]\ncommand = "FAKE"\nsettings = {{ mark = "{tmp_path}" }}\n')
    study, paths = load_study(path), StudyPaths(tmp_path / "r")
    plan = Plan(Slo({"latency_s": 5.0}), "ideal", duration_s=0.3, start_rps=20, most_loads=1)
    questions = load_questions(study.workload.questions)
    (first,) = first_points(study, plan)
    searcher = Searcher(plan, Runner(paths, questions, look_around(), Progress()))
    await searcher.search(first)
    manifest = paths.point("a-ideal-20rps-seed1").manifest
    # Whatever else ran here: it lies there as measured soundly.
    manifest.write_text(re.sub('"(contaminated|client_limited)"', '"valid"', manifest.read_text()))

    class Refusing(Progress):
        def doing(self, text):
            raise AssertionError("a server was started")

    again = await Searcher(plan, Runner(paths, questions, look_around(), Refusing())).search(first)
    assert again.low_rps == 20


@pytest.mark.timing
def test_the_known_capacity_is_found_from_end_to_end(call, tmp_path):
    """
    `ragbench capacity known` with loads of 2 s: the real calibration server, the real client.

    The promise is half a second, so that a machine that stalls for a third of one reads no less. On a machine that
    cannot send on time the upper end is the client's: then the command must say so and call nothing resolved.
    """
    quick = ("--duration-s", "2", "--slo", "latency_p95_s=0.5", "--most-loads", "5")
    code, out, err = call("capacity", "known", "--results", tmp_path, *quick)
    (row,) = csv.DictReader((tmp_path / "known-capacity" / "capacity.csv").read_text().splitlines())
    assert code == (0 if row["resolved"] == "true" else 1)
    assert float(row["low_rps"]) <= 100
    if "the load failed, not the service" in row["reason"]:
        assert row["resolved"] == "false"
    else:
        assert 1.05 * float(row["high_rps"]) >= 100
    assert float(row["bias"]) == 0.15
    assert re.findall(r"\] \S+ at (\d+)/s: ", err)[:2] == ["40", "80"]
    assert "known" in out
    summary = load_summary(tmp_path / "known-capacity" / "summary.csv")
    assert set(summary["design"]) == {"known"}
    assert (tmp_path / "known-capacity" / "figures" / "capacity.png").is_file()


def test_the_table_keeps_what_it_has_of_others(tmp_path):
    file = tmp_path / "capacity.csv"
    for name, rate in (("one", 10.0), ("two", 20.0), ("one", 15.0)):
        write_row(
            Capacity(name, name, "poisson", str(SLO), rate, rate, 2 * rate, True, "narrow", 3, 4, 60.0, 0.01), file
        )
    assert [line.split(",")[:1] + line.split(",")[4:7] for line in file.read_text().splitlines()[1:]] == [
        ["two", "20", "20", "40"],
        ["one", "15", "15", "30"],
    ]
    assert {row.configuration: row.capacity_rps for row in CAPACITY.read(file)} == {"one": 15, "two": 20}


@pytest.mark.parametrize("same_answers", [True, False])
async def test_a_search_knows_one_text_for_all_from_loads_too_short_to_tell(tmp_path, monkeypatch, same_answers):
    text = write_study(tmp_path, f'[designs.a]\ncommand = "FAKE"\nsettings = {{ mark = "{tmp_path}" }}\n').read_text()
    text = text.replace("[workload]", f"[workload]\nsame_answers = {str(same_answers).lower()}")
    (tmp_path / "study.toml").write_text(text)
    study = load_study(tmp_path / "study.toml")
    plan = Plan(SLO, "ideal", duration_s=1.0, start_rps=8, most_loads=12)
    (first,) = first_points(study, plan)
    questions, numbers = load_questions(study.workload.questions), iter(range(1000))
    searcher = Searcher(plan, Runner(StudyPaths(tmp_path), questions, look_around(), Progress()))

    async def measured(point):
        answered = [replace(row, question=f"q{next(numbers)}", result="sorry") for row in rows(rate=8, served=100)[:8]]
        window = {"window_start_s": 0.0, "window_end_s": 1.0}
        return answered, VALID | window | {"offered_rps": point.offered_rps}

    monkeypatch.setattr(searcher, "_measured", measured)
    loads, load = [], searcher._load

    async def noted(*asked):
        loads.append(await load(*asked))
        return loads[-1]

    monkeypatch.setattr(searcher, "_load", noted)
    await searcher.search(first)
    kept = [load.kept for load in loads]
    if same_answers:
        assert all(kept)
    else:
        assert kept == [True, True] + [False] * (len(kept) - 2)
        assert loads[-1].reason.startswith("failing: ")
