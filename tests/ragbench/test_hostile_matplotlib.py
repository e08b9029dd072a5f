import os
import subprocess
import sys

import matplotlib as mpl
import pytest

from ragbench import plots
from tests.ragbench.results_fixture import write_study

HOSTILE = {"text.usetex": True, "figure.facecolor": "black", "axes.facecolor": "#101010", "font.size": 40.0}
HOSTILE |= {"axes.prop_cycle": mpl.cycler(color=["red"]), "savefig.dpi": 30.0, "svg.fonttype": "path"}


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "small", designs={"baseline": [{}]}, arrivals=("ideal",), rates=(20,))


@pytest.mark.parametrize("name", ["latency", "throughput"])
def test_figures_do_not_depend_on_the_settings_of_matplotlib(study, name):
    draw = plots.FIGURES[name]
    before = plots.rendered(draw(plots.load_study(study)), "png")
    with mpl.rc_context(HOSTILE):
        assert plots.rendered(draw(plots.load_study(study)), "png") == before


def test_a_dollar_in_a_title_is_a_dollar(study):
    title = "from $1 to $x_{"
    (study / "study.toml").write_text(f'[study]\ntitle = "{title}"\n', encoding="utf-8")
    figure = plots.FIGURES["latency"](plots.load_study(study))
    figure.suptitle(title)
    assert plots.rendered(figure, "png")  # mathtext would raise


def test_a_matplotlibrc_of_the_user_leaves_the_report_as_it_is(study, tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfigure.facecolor: black\n", encoding="utf-8")
    code = f"from ragbench import plots; plots.save_all({str(study)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")},
    )
    assert done.returncode == 0, done.stderr
