import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from IPython.display import Image, Markdown

from ragbench.report import notebook
from ragbench.results.folder import CHECKOUT

DEFAULTS = 'study = "results/reference-cpu"\nscale: float = 1.0  # parameters'


def test_known_parameters_pass():
    notebook.refuse_unknown(["", DEFAULTS, '# Parameters\nstudy = "results/mine"\nscale = 2.0\n', "1 + 1"])


def test_without_parameters_there_is_nothing_to_refuse():
    notebook.refuse_unknown(["%matplotlib inline", DEFAULTS])


def test_unknown_parameter_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="unknown parameter studdy; this notebook takes scale, study"):
        notebook.refuse_unknown([DEFAULTS, '# Parameters\nstuddy = "results/mine"\n', "studdy = 1"])


def test_show_is_the_file_written_or_a_line_that_there_is_none(tmp_path):
    png = tmp_path / "latency.png"
    png.write_bytes(b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + b"IHDR" + (1440).to_bytes(4, "big") + bytes(20))
    shown = notebook.show([tmp_path / "latency.svg", png], "latency")
    assert isinstance(shown, Image)
    assert shown.data == png.read_bytes()
    assert shown.width == 720
    assert isinstance(notebook.show([png], "replicas"), Markdown)
    with pytest.raises(ValueError, match="unknown figure 'latenzy'; known: latency, throughput"):
        notebook.show([png], "latenzy")


def test_show_others_shows_a_figure_no_article_tells_about(monkeypatch, capsys):
    monkeypatch.setattr("ragbench.plots.FIGURES", {"latency": None, "mine": None})
    shown = []
    monkeypatch.setattr(notebook, "display", lambda *objects: shown.extend(objects))
    notebook.show_others([Path("latency.png")], "latency", "mine")
    assert shown == []
    notebook.show_others([Path("latency.png")], "latency")
    assert [item.data for item in shown] == ["## Other figures", "*This study has nothing to show for `mine`.*"]


def test_table_has_three_digits_and_blanks_and_escapes():
    frame = pd.DataFrame({"a": [0.0123456, float("nan")], "b": [1234.5, 3.0], "c": ["<b>", None]})
    html = notebook.table(frame).data
    for cell in ("0.0123", "1234", "3", "&lt;b&gt;", ""):
        assert f"<td>{cell}</td>" in html
    assert "nan" not in html.lower()
    assert "none" not in html.lower()


@pytest.mark.slow
def test_a_notebook_run_with_an_unknown_parameter_says_which_it_takes(tmp_path):
    given = ["--no-progress-bar", CHECKOUT / "notebooks" / "sweep.ipynb", tmp_path / "out.ipynb", "-p", "studdy", "x"]
    command = [sys.executable, "-m", "papermill", *map(str, given)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "unknown parameter studdy; this notebook takes study" in done.stderr
