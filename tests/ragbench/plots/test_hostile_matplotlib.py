"""Figures are the same whatever matplotlib's settings are, and a $ in a name is a $."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest

from ragbench import plots
from ragbench.calibration import figures as calibration
from ragbench.calibration import run
from ragbench.retrieval import plots as retrieval
from ragbench.retrieval.results import load_results
from ragbench.simulator.figure import timeline_figure, twin
from tests.ragbench.results_fixture import write_study
from tests.ragbench.retrieval.results_fixture import write_results

RESULTS = Path(__file__).parents[3] / "results"
HOSTILE = {
    "text.usetex": True,
    "figure.facecolor": "black",
    "axes.facecolor": "#101010",
    "savefig.facecolor": "black",
    "font.size": 40.0,
    "lines.linestyle": ":",
    "axes.prop_cycle": mpl.cycler(color=["red"]),
    "savefig.dpi": 30.0,
    "savefig.bbox": "tight",
    "xtick.labelcolor": "red",
    "svg.fonttype": "none",
}
TITLE = "from $1 to $x_{"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write_study(
        tmp_path_factory.mktemp("small") / "small",
        designs={"batched": [{"mode": "$x_{"}], "scaled": [{}]},
        arrivals=("poisson",),
        rates=(20, 40),
        users=(2,),
    )
    (folder / "study.toml").write_text(f'[study]\ntitle = "{TITLE}"\n', encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return load_results(write_results(tmp_path_factory.mktemp("r") / "small"))


def moments():
    return pd.DataFrame(
        [
            {"t_s": t, "offered_rps": 5.0, "answered_share": 0.5, "latency_p50_s": 0.1, "latency_p95_s": 0.2 + t}
            | {"ready": 1, "starting": 1}
            for t in range(5)
        ]
    )


def agreement():
    row = {"design": "batched $x_{", "arrival": "poisson", "verdict": "valid"}
    figures = dict.fromkeys(("latency_p50_s", "simulated_p50_s", "latency_p95_s", "simulated_p95_s"), 0.1)
    return pd.DataFrame([row | figures | {"offered_rps": rate} for rate in (10.0, 20.0)])


def calibrated():
    return run.load(RESULTS / "reference-calibration")


def same_under_hostile_settings(draw):
    figure = draw()
    if figure is None:
        pytest.skip("nothing to show")
    before = plots.rendered(figure, "svg")
    with mpl.rc_context(HOSTILE):
        assert plots.rendered(draw(), "svg") == before


@pytest.mark.slow
@pytest.mark.parametrize("name", plots.FIGURES)
def test_figures_of_a_study(study, name):
    same_under_hostile_settings(lambda: plots.FIGURES[name](plots.load_study(study)))


@pytest.mark.slow
@pytest.mark.parametrize("name", retrieval.FIGURES)
def test_figures_of_a_retrieval_study(measured, name):
    same_under_hostile_settings(lambda: retrieval.FIGURES[name](measured))


@pytest.mark.parametrize(
    "draw",
    [lambda: timeline_figure(moments(), title=TITLE), lambda: twin(agreement())],
    ids=["timeline", "twin"],
)
def test_figures_of_the_simulator(draw):
    same_under_hostile_settings(draw)


@pytest.mark.slow
def test_figures_of_a_calibration(tmp_path):
    def drawn(folder):
        files = calibration.save(calibrated(), folder)
        return {path.name: path.read_bytes() for path in files if path.suffix == ".svg"}

    before = drawn(tmp_path / "a")
    assert before
    with mpl.rc_context(HOSTILE):
        assert drawn(tmp_path / "b") == before


def test_a_dollar_in_a_title_is_a_dollar():
    figure = timeline_figure(moments(), title=TITLE)
    assert plots.rendered(figure, "png")  # mathtext would raise
    assert TITLE in figure.get_suptitle()


@pytest.mark.slow
def test_a_matplotlibrc_of_the_user_leaves_the_figures_as_they_are(study, tmp_path):
    rc = tmp_path / "matplotlibrc"
    rc.write_text("text.usetex: True\nfigure.facecolor: black\naxes.edgecolor: red\n", encoding="utf-8")
    code = (
        "import sys; from ragbench import plots; "
        "sys.stdout.buffer.write(plots.rendered(plots.FIGURES['latency'](plots.load_study(sys.argv[1])), 'svg'))"
    )
    argv = [sys.executable, "-c", code, str(study)]
    one, other = (
        subprocess.run(argv, capture_output=True, timeout=120, check=True, env=os.environ | more, cwd=where).stdout
        for more, where in (({}, study), ({"MATPLOTLIBRC": str(rc)}, tmp_path))
    )
    assert one == other
    assert one.startswith(b"<?xml")
