"""Every command that reads results, on damaged ones: one line that names the file, no traceback, nothing outside."""

import re
import shutil
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from ragbench.capacity.figure import capacity, load_capacity
from ragbench.capacity.table import CAPACITY
from ragbench.files.csv_table import RecordError
from ragbench.measure.limit import bare_rps
from ragbench.results.folder import load_study
from tests.ragbench.damage import (
    CELLS,
    KINDS,
    VALUES,
    change_csv,
    change_json,
    measured,
    measuring_nothing,
    told_by,
    words,
)
from tests.ragbench.results_fixture import write_study

pytestmark = pytest.mark.attack
POINT, KNOWN = "study/a-poisson-100rps-seed1", "known/batched-poisson-20rps-seed1"
EVERY = ("dry run", "run", "slo", "compare", "answers")
# Which commands read a file of results/.
READERS = {
    f"{POINT}/manifest.json": EVERY,
    f"{POINT}/requests.csv": ("slo", "report", "compare", "answers"),
    f"{POINT}/replicas.csv": ("slo",),
    f"{POINT}/scaling.csv": ("slo",),
    f"{POINT}/starts.csv": ("slo",),
    f"{POINT}/telemetry.csv": ("slo",),
    "study/summary.csv": ("compare",),
    "study/study.toml": ("report",),
    f"{KNOWN}/manifest.json": ("simulate",),
    f"{KNOWN}/requests.csv": ("simulate",),
    "known/study.toml": ("simulate",),
    "mine/summary.csv": ("retrieval",),
    "mine/roofline.csv": ("retrieval",),
    "mine/study.toml": ("retrieval",),
}
# What is said of a file that is sound and other than wanted.
OTHERWISE = ("nothing to fit", "measured with other settings", "measured on ", "no load in common")
CHANGED = [name for name in READERS if not name.endswith("toml")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with measuring_nothing():
        yield measured(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def folder(whole):
    return whole.parent / "damaged"


def copied(whole, folder):
    """The results again, whole, and beside them a file that nobody may touch."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    (folder / "canary").write_text("kept")
    return folder


def outside(folder):
    mine = {folder / "results", folder / "out"}
    return {path for path in folder.rglob("*") if not mine & {path, *path.parents}} | {(folder / "canary").read_text()}


def ends_well(command, folder, name):
    """Run it; check its end. Where it refuses, that is one line with the damaged file."""
    before = outside(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        code, told = told_by(words(folder)[command])
    assert "Traceback" not in told
    assert code in {0, 1, 2}
    # What was done before it came to the damage is progress: `[1] name of a point`.
    lines = [line for line in told.splitlines() if not re.match(r"kept: |\[\d+\] ", line)]
    if code == 2 and not any(each in told for each in OTHERWISE):
        assert len(lines) == 1, told
        assert name in told, told
    assert outside(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_one_line(whole, folder, kind):
    for name, commands in READERS.items():
        for command in commands:
            KINDS[kind](copied(whole, folder) / "results" / name)
            ends_well(command, folder, name.rpartition("/")[2])


@pytest.mark.slow
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(CHANGED), st.integers(0, 2_000), st.integers(0, 10), st.data())
def test_a_changed_value_is_one_line(whole, folder, name, place, reader, data):
    path = copied(whole, folder) / "results" / name
    if name.endswith("json"):
        change_json(path, place=place, value=data.draw(st.sampled_from(VALUES)))
    else:
        change_csv(path, place=place, value=data.draw(st.sampled_from(CELLS) | st.text(max_size=5)))
    ends_well(READERS[name][reader % len(READERS[name])], folder, name.rpartition("/")[2])


@pytest.mark.parametrize("text", ["", "[]\n", "configuration\na\n", "a,b\n1\n", "\xff", "x" * 5000])
def test_a_damaged_table_of_capacities_or_of_a_bare_pipeline_is_one_line(tmp_path, text):
    (tmp_path / "capacity.csv").write_text(text, encoding="latin-1")
    for read in (lambda: load_capacity(tmp_path), lambda: bare_rps(tmp_path / "capacity.csv")):
        with pytest.raises(RecordError, match=r"^[^\n]*capacity\.csv[^\n]*$"):
            read()


@pytest.mark.parametrize("cells", [("0", "1"), ("1", "0"), ("1", "nan"), ("1", "-1"), ("x", "1"), ("", "")])
def test_runs_of_a_bare_pipeline_that_give_no_rate_are_one_line(tmp_path, cells):
    path = tmp_path / "bare.csv"
    path.write_text(f"batch_size,total_s\n{','.join(cells)}\n")
    with pytest.raises(RecordError, match=r"^[^\n]*bare\.csv[^\n]*$"):
        bare_rps(path)


def test_of_several_searches_the_figure_shows_the_last(tmp_path):
    folder = write_study(tmp_path / "study", designs={"batched": [{}]}, arrivals=("poisson",), rates=(20, 40))
    head = ",".join(CAPACITY.columns) + "\n"
    rows = [
        f"batched,batched,poisson,latency_p95_s <= {slo},30,25,{high},true,,,,,\n" for slo, high in ((1, 35), (2, 38))
    ]
    (folder / "capacity.csv").write_text(head + "".join(rows))
    assert "SLO, dashed above: latency_p95_s <= 2" in " ".join(text.get_text() for text in texts(folder))


def texts(folder):
    return capacity(load_study(folder)).findobj(Text)
