"""`ragbench simulate` on folders as studies leave them."""

import contextlib
import io
import json
import re
import sys
from collections import Counter

import pandas as pd
import pytest

from ragbench.__main__ import main
from ragbench.results.records import REQUESTS, load_summary
from ragbench.simulator.figure import timeline_figure, twin
from tests.ragbench.results_fixture import write_study
from tests.ragbench.simulator.known import Noisy
from tests.ragbench.simulator.measured import write_measured


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process. -> (exit code, stdout, stderr)"""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ragbench", "simulate", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_measured(tmp_path_factory.mktemp("it") / "known", Noisy(0.006, 0.002))


@pytest.fixture(scope="module")
def replayed(folder):
    """What `simulate` says of it: simulated once for all that look at the files."""
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(told):
        patch.setattr(sys, "argv", ["ragbench", "simulate", str(folder)])
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code
    return told.getvalue()


@pytest.mark.slow
def test_a_known_study_is_found_again(replayed, folder):
    assert (
        "out of sample (the load's rate left out of the fit), p50 and p95 within 15% of measured at 6 of 6 valid loads "
        "below 80% of the most that the design answered (of 9 loads)" in replayed
    )
    twin_folder = folder.with_name("known-simulated")
    table = pd.read_csv(twin_folder / "agreement.csv")
    assert table["seeds"].tolist() == [2] * 9
    assert table["speed"].tolist() == pytest.approx([1.0] * 9, abs=0.05)
    assert table[table["load"] < 0.8]["p50_off"].abs().max() < 0.1
    summary = load_summary(twin_folder / "summary.csv")
    assert set(summary["source"]) == {"simulated"}
    assert summary["point"].tolist() == load_summary(folder / "summary.csv")["point"].tolist()
    rows = REQUESTS.frame(twin_folder / "scaled-poisson-60rps-seed1" / "requests.csv")
    known = REQUESTS.frame(folder / "scaled-poisson-60rps-seed1" / "requests.csv")
    assert rows["due_s"].tolist() == known["due_s"].tolist()


@pytest.mark.slow
def test_what_is_written_had_its_own_rate_left_out(replayed, folder):
    assert "not simulated" not in replayed
    manifests = [json.loads(path.read_text()) for path in folder.with_name("known-simulated").glob("*/manifest.json")]
    assert len(manifests) == 18
    assert all(one["left_out_rps"] == one["point"]["offered_rps"] for one in manifests)
    assert {one["fitted_to"] for one in manifests} == {"known"}


def test_one_rate_alone_is_not_predicted_and_says_so(call, tmp_path):
    study = write_measured(tmp_path / "one rate", Noisy(0.006, 0.002), rates=(60,), seeds=(1,), designs=("baseline",))
    code, out, err = call(study)
    assert code == 0, err
    assert "baseline: poisson 60/s not predicted: without its rate 0 batches are too few" in out
    assert "at 0 of 0 valid loads" in out
    table = pd.read_csv(study.with_name("one rate-simulated") / "agreement.csv")
    assert table["p50_off"].isna().all()
    summary = load_summary(study.with_name("one rate-simulated") / "summary.csv")
    assert summary["latency_p50_s"].tolist() == pytest.approx(table["latency_p50_s"].tolist(), rel=0.1)


def test_what_is_left_out_is_named(call, tmp_path):
    study = write_measured(
        tmp_path / "it", Noisy(0.006, 0.002), rates=(20, 60), seeds=(1,), designs=("baseline", "batched")
    )
    for path in study.glob("batched-*/manifest.json"):
        path.write_text(
            path.read_text().replace('"server_info": {"design": "batched"', '"server_info": {"design": "x"')
        )
    code, out, err = call(study)
    assert code == 0, err
    points = "batched-poisson-20rps-seed1, batched-poisson-60rps-seed1"
    assert f"{points} not simulated: there is no model of 'x'; known: baseline, batched, scaled" in out


def test_times_of_the_pipeline_alone_take_the_place_of_those_measured(call, tmp_path):
    """Twice as fast as the study's own 6 + 2 n ms, they make the same loads half as long in the pipeline."""
    known = {"rates": (20, 60), "seeds": (1,), "designs": ("batched",)}
    folder = write_measured(tmp_path / "known", Noisy(0.006, 0.002), **known)
    path, out = tmp_path / "alone.csv", tmp_path / "twice as fast"
    runs = [f"{n},0,0,{0.003 + 0.001 * n}" for n in (1, 2, 4, 8, 16, 32)]
    path.write_text("\n".join(["batch_size,embed_s,retrieve_s,generate_s", *runs]))
    code, told, err = call(folder, "--times", path, "--out", out)
    assert code == 0, err
    assert re.search(r"batched.* 0\.003 +0\.001 ", told)
    path.write_text("batch_size,embed_s\n1,x\n")
    code, _, err = call(folder, "--times", path, "--out", out)
    assert code == 2
    assert "lacks the columns retrieve_s, generate_s" in err


def test_a_what_if_is_told_in_figures_and_a_picture(call, folder, tmp_path):
    path = tmp_path / "crowd.toml"
    path.write_text(
        'title = "A crowd"\ndesign = "scaled"\nphases = [{ duration_s = 4, rate = 300 }]\n'
        "[settings]\nmax_replicas = 4\n"
    )
    code, out, err = call(folder, "--scenario", path, "--out", tmp_path / "out")
    assert code == 0, err
    assert "A crowd" in out
    assert {file.name for file in (tmp_path / "out" / "crowd").iterdir()} == {
        "requests.csv",
        "timeline.csv",
        "timeline.png",
    }
    code, _, err = call(folder, "--scenario", tmp_path / "none.toml")
    assert (code, "No such file" in err, "flash-crowd" in err) == (2, True, True)
    path.write_text('design = "fourth"\nphases = [{ duration_s = 4, rate = 300 }]\n')
    code, _, err = call(folder, "--scenario", path)
    assert (code, "no design 'fourth' to fit to" in err, "there: baseline, batched, scaled" in err) == (2, True, True)


def test_a_study_without_a_design_it_knows_is_refused(call, tmp_path):
    study = write_study(tmp_path / "mine", designs={"mine": [{}]}, arrivals=("ideal",), rates=(20,))
    code, _, err = call(study)
    assert code == 2
    assert "Traceback" not in err
    code, _, err = call(tmp_path / "none")
    assert code == 2


@pytest.mark.slow
def test_the_twins_figure_has_marks_and_a_curve_for_each_design(replayed, folder):
    assert replayed
    table = pd.read_csv(folder.with_name("known-simulated") / "agreement.csv")
    table.loc[table["design"] == "baseline", "verdict"] = "saturated"
    figure = twin(table)
    assert len(figure.axes) == 6
    for axes in figure.axes:
        drawn = Counter()
        for mark in axes.lines:
            drawn[mark.get_gid()] += len(mark.get_xdata())
        assert drawn == {"simulated": 3, "measured": 3}
    hollow = [line for line in figure.axes[0].lines if line.get_gid() == "measured" and len(line.get_xdata())]
    assert [line.get_markerfacecolor() for line in hollow] == ["white"]


def test_a_timeline_has_load_latency_and_replicas():
    moment = {"offered_rps": 10.0, "answered_share": 0.5, "latency_p50_s": 0.1, "latency_p95_s": 0.2}
    moments = pd.DataFrame([{"t_s": float(t), **moment, "ready": 2, "starting": 1} for t in range(4)])
    figure = timeline_figure(moments, title="It")
    load, _, replicas = figure.axes
    assert load.lines[1].get_ydata().tolist() == [5.0] * 4
    assert [line.get_ydata().tolist() for line in replicas.lines] == [[2.0] * 4, [3.0] * 4]


def test_what_was_measured_is_not_written_over(call, folder):
    before = (folder / "summary.csv").read_bytes()
    code, _, err = call(folder, "--out", folder)
    assert (code, "holds what was measured; name another folder" in err) == (2, True)
    assert (folder / "summary.csv").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_one_line(call, folder, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = call(folder, "--out", tmp_path / "file" / "out")
    assert (code, "Not a directory" in err, "Traceback" in err) == (2, True, False)
