"""Every command that reads results, on damaged ones: one line that names the file, no traceback, nothing outside."""

import shutil
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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

pytestmark = pytest.mark.attack
POINT, KNOWN = "study/a-poisson-100rps-seed1", "known/batched-poisson-20rps-seed1"
EVERY = ("plan", "run", "summarise", "compare", "answers")
# Which commands read a file of results/.
READERS = {
    f"{POINT}/manifest.json": EVERY,
    f"{POINT}/requests.csv": ("summarise", "report", "compare", "answers"),
    f"{POINT}/replicas.csv": ("summarise",),
    f"{POINT}/scaling.csv": ("summarise",),
    f"{POINT}/starts.csv": ("summarise",),
    f"{POINT}/telemetry.csv": ("summarise",),
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
    lines = [line for line in told.splitlines() if not line.startswith("kept: ")]
    if code == 2 and not any(each in told for each in OTHERWISE):
        assert len(lines) == 1, told
        assert name in told, told
    assert outside(folder) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_one_line(whole, folder, kind):
    for name, commands in READERS.items():
        for command in commands:
            KINDS[kind](copied(whole, folder) / "results" / name)
            ends_well(command, folder, name.rpartition("/")[2])


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(CHANGED), st.integers(0, 2_000), st.integers(0, 10), st.data())
def test_a_changed_value_is_one_line(whole, folder, name, place, reader, data):
    path = copied(whole, folder) / "results" / name
    if name.endswith("json"):
        change_json(path, place=place, value=data.draw(st.sampled_from(VALUES)))
    else:
        change_csv(path, place=place, value=data.draw(st.sampled_from(CELLS) | st.text(max_size=5)))
    ends_well(READERS[name][reader % len(READERS[name])], folder, name.rpartition("/")[2])
