"""The committed figures show what is committed beside them: numbers are compared, not bytes of pictures."""

from pathlib import Path

import pytest

from ragbench.plots import drawn_path
from ragbench.plots.drawn import drawn, drawn_csv
from scripts import redraw
from scripts.redraw import difference, read_drawn
from tests.ragbench.results_fixture import write_study

ROOT = Path(__file__).parents[1]
REFERENCES = sorted((ROOT / "results").glob("reference-*"))
FIGURES = [(folder, name) for folder in REFERENCES for name in redraw.names(folder)]
MOST_BYTES = 2_000_000


@pytest.mark.parametrize(("folder", "name"), FIGURES, ids=[f"{folder.name}/{name}" for folder, name in FIGURES])
def test_a_committed_figure_is_what_todays_code_draws_from_what_is_committed(folder, name):
    """`python scripts/redraw.py` makes it so."""
    kept = drawn_path(redraw.room(folder), name)
    assert kept.is_file(), "a figure without its numbers cannot be checked"
    assert kept.with_name(f"{name}.svg").is_file()
    found = redraw.redrawn(folder, name)
    if redraw.shows_less(found, kept):
        return  # its rows are not kept: the numbers beside it are all there is
    assert found.figure is not None, "today's code does not draw it"
    assert difference(drawn(found.figure), read_drawn(kept)) is None


def test_numbers_lie_beside_pictures_alone():
    known = {drawn_path(redraw.room(folder), name) for folder, name in FIGURES}
    assert {path for folder in REFERENCES for path in folder.rglob("*.drawn.csv")} <= known


def test_no_committed_result_is_large():
    large = [path for folder in REFERENCES for path in folder.rglob("*") if path.stat().st_size > MOST_BYTES]
    assert not large


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "reference-it", designs={"scaled": [{}]}, arrivals=("poisson",), rates=(5, 10))


def _redraw(folder):
    said = []
    redraw.redraw(folder, said.append)
    return said


def _drop_rows(folder):
    for path in folder.glob("*/requests.csv"):
        path.unlink()


def test_a_figure_is_drawn_again_where_its_numbers_changed(study):
    (study / "figures").mkdir()
    (study / "figures" / "latency.png").write_bytes(b"old")
    assert _redraw(study) == ["reference-it: latency is drawn"]
    kept = study / "figures" / "latency.drawn.csv"
    text = (study / "summary.csv").read_text()
    assert difference(drawn(redraw.redrawn(study, "latency").figure), read_drawn(kept)) is None
    header, first, *rest = text.splitlines()
    cells = first.split(",")
    cells[header.split(",").index("latency_p50_s")] = "0.75"
    (study / "summary.csv").write_text("\n".join([header, ",".join(cells), *rest, ""]))
    assert "0.75" in difference(drawn(redraw.redrawn(study, "latency").figure), read_drawn(kept))


@pytest.mark.slow
def test_what_needs_rows_that_are_not_kept_stays_as_measured_or_goes(study):
    (study / "figures").mkdir()
    for name in ("distribution", "replicas"):
        (study / "figures" / f"{name}.png").write_bytes(b"old")
    _redraw(study)
    measured = {path.name: path.read_bytes() for path in (study / "figures").iterdir()}
    _drop_rows(study)
    assert len(_redraw(study)) == 2
    assert {path.name: path.read_bytes() for path in (study / "figures").iterdir()} == measured
    for name in ("distribution", "replicas"):
        (study / "figures" / f"{name}.drawn.csv").unlink()
    assert _redraw(study) == [
        "reference-it: there is no distribution",
        "reference-it: replicas is drawn, less what needs rows",
    ]
    assert redraw.names(study) == ["replicas"]


def test_a_figure_of_no_name_goes(study):
    (study / "figures").mkdir()
    (study / "figures" / "pie.png").write_bytes(b"old")
    assert _redraw(study) == ["reference-it: there is no pie"]
    assert redraw.names(study) == []


def test_the_numbers_do_not_depend_on_the_run(study):
    one, other = (drawn_csv(redraw.redrawn(study, "distribution").figure) for _ in range(2))
    assert one == other
