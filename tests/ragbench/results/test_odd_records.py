"""What services, machines and studies call themselves may be any text: figures and reports are made of it."""

import re

import pytest

from ragbench import plots
from ragbench.files.csv_table import RecordError, read_columns, read_frame, write_table
from ragbench.report import page
from ragbench.results.records import load_summary, read_manifest, write_atomic
from tests.ragbench.results_fixture import write_study

ODD = "\ud800\0\r\n\\ud800 $x_{ <b>[/INST] \u202e\x1b[31m"
SEED = 2**70


def changed(path, **texts):
    """The table again, with one text in all cells of a column."""
    columns = read_columns(path)
    cells = [[texts.get(name, cell) for cell in column.cells] for name, column in columns.items()]
    write_atomic(path, write_table(columns, zip(*cells, strict=True)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Designs called null and NA with settings that look like numbers, on a machine with an odd name."""
    root = write_study(
        tmp_path_factory.mktemp("odd") / "small",
        designs={"null": [{"mark": "nan"}, {"mark": "inf"}], "NA": [{"mark": "1_000"}, {"mark": "$x_{"}]},
        arrivals=("poisson",),
        rates=(20, 40),
        seeds=(1, 2),
    )
    for path in root.glob("*/requests.csv"):
        changed(path, question=ODD, result=ODD, error=ODD, close_reason=ODD, replica=ODD)
    changed(root / "summary.csv", seed=SEED, hardware=ODD, verdict_reason=ODD, hostname=ODD)
    return root


def test_names_that_look_like_numbers_or_absence_stay_names(folder):
    summary = load_summary(folder / "summary.csv")
    assert summary["design"].unique().tolist() == ["null", "NA"]
    assert summary["mark"].unique().tolist() == ["nan", "inf", "1_000", "$x_{"]
    assert summary["seed"].unique().tolist() == [SEED]
    assert summary["hardware"].unique().tolist() == [ODD]


@pytest.mark.parametrize("name", plots.FIGURES)
def test_every_figure_is_drawn_of_odd_records(folder, name):
    figure = plots.FIGURES[name](plots.load_study(folder))
    if figure is not None:
        assert plots.rendered(figure, "png")
        assert plots.rendered(figure, "svg").decode("utf-8")


def test_no_design_vanishes_from_a_figure(folder):
    figure = plots.FIGURES["latency"](plots.load_study(folder))
    labels = " ".join(text.get_text() for legend in figure.legends for text in legend.get_texts())
    assert re.search(r"\bnull\b.*\bNA\b|\bNA\b.*\bnull\b", labels)
    assert "nan" in labels


@pytest.mark.slow
def test_a_report_is_built_of_odd_records(folder):
    html = page.build(folder).read_text(encoding="utf-8")
    assert "<b>[/INST]" not in html
    assert html.count("<td>null") >= 2
    assert "on \\ud800\\x00\\r \\ud800 $x_{ &lt;b&gt;[/INST] \\u202e\\x1b[31m.</p>" in html


@pytest.mark.parametrize("text", ["nan", "inf", "1_000", "\u0663", " 8", "+8", "8.", "1e5x", "truth"])
def test_a_column_of_text_that_python_reads_as_a_number_stays_text(tmp_path, text):
    path = tmp_path / "x.csv"
    write_atomic(path, write_table(["mark"], [[text]]))
    assert read_frame(path, {})["mark"].tolist() == [text]


def test_a_manifest_nested_too_deep_is_one_line(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text('{"point": ' + "[" * 100_000, encoding="utf-8")
    with pytest.raises(RecordError, match=r"manifest\.json is damaged: it is nested too deep"):
        read_manifest(path)
