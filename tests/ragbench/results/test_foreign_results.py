"""A results folder of a stranger: no command writes outside it, whatever its names and links say."""

import json
import os

import pytest

from ragbench.files.csv_table import RecordError
from ragbench.measure.sweep import locked
from ragbench.processes.launch import start
from ragbench.results.paths import StudyPaths
from ragbench.results.records import read_manifest, write_atomic
from tests.ragbench.results_fixture import write_study
from tests.ragbench.running import fake

pytestmark = pytest.mark.attack
POINT = "batched-poisson-40rps-seed1"
READERS = (("report",), ("report", "--recompute"), ("report", "--answers"), ("simulate",))


@pytest.fixture
def folder(tmp_path):
    """A small study in results/theirs, beside one in results/ours."""
    for name in ("ours", "theirs"):
        write_study(tmp_path / "results" / name, designs={"batched": [{}]}, arrivals=("poisson",), rates=(20, 40))
    return tmp_path / "results" / "theirs"


def files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def edit(path, change):
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", [f"../ours/{POINT}", "..", ".", "", "/tmp", "a/b", "a\0b", "a\n", 7, None, ["x"]])
def test_a_name_in_a_manifest_that_is_not_its_folders_is_one_line(folder, call, name):
    path = folder / POINT / "manifest.json"
    edit(path, lambda manifest: manifest["point"].update(name=name))
    before = files(folder.parent / "ours")
    for command in READERS:
        code, _, told = call(command[0], folder, *command[1:])
        assert code == 2
        assert told.count("\n") == 1
        assert str(path) in told
    assert files(folder.parent / "ours") == before


@pytest.mark.parametrize("name", ["../x", "..", ".", "", "/tmp", "a/b", "a\0b"])
def test_no_point_has_a_path_outside_its_study(tmp_path, name):
    with pytest.raises(RecordError, match="cannot be the name of a folder"):
        StudyPaths(tmp_path).point(name)
    with pytest.raises(RecordError, match="cannot be the name of a folder"):
        StudyPaths(tmp_path).partial(name)


def test_a_name_in_a_summary_that_leads_outside_is_one_line(folder, call):
    summary = folder / "summary.csv"
    summary.write_text(summary.read_text().replace(POINT, f"../ours/{POINT}"))
    code, _, told = call("compare", f"{folder}:batched", f"{folder.parent / 'ours'}:batched")
    assert (code, told.count("\n")) == (2, 1)
    assert str(summary) in told


@pytest.mark.parametrize("place", ["figures", "notebooks", POINT])
def test_a_folder_that_is_a_link_is_not_written_through(folder, call, tmp_path, place):
    outside = tmp_path / "outside"
    outside.mkdir()
    if (folder / place).exists():
        (folder / place).rename(tmp_path / "moved")
        outside = tmp_path / "moved"
    (folder / place).symlink_to(outside)
    before = files(outside)
    for command in READERS:
        code, _, told = call(command[0], folder, *command[1:])
        assert (code, told.count("\n")) == (2, 1)
        assert f"{folder / place} is a symbolic link" in told
    with pytest.raises(RecordError, match="symbolic link"), locked(StudyPaths(folder)):
        pass
    assert files(outside) == before


def test_a_temporary_name_that_is_a_link_is_replaced(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (tmp_path / ".summary.csv.partial").symlink_to(outside)
    write_atomic(tmp_path / "summary.csv", "new")
    assert outside.read_text() == "kept"
    assert (tmp_path / "summary.csv").read_text() == "new"


def test_a_lock_that_is_a_link_leaves_its_target_as_it_was(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (folder / ".lock").symlink_to(outside)
    with pytest.raises(OSError, match="lock"), locked(StudyPaths(folder)):
        pass
    assert outside.read_text() == "kept"


def test_a_lock_that_is_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / ".lock")
    with pytest.raises(OSError, match="lock"), locked(StudyPaths(folder)):
        pass


async def test_the_log_of_a_server_is_not_written_through_a_link(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("kept")
    log = StudyPaths(folder).live_log
    log.symlink_to(outside)
    server = await start(fake(), log=log, ready_timeout_s=30.0)
    await server.stop()
    assert outside.read_text() == "kept"
    assert not log.is_symlink()


def test_a_manifest_that_is_a_pipe_is_not_waited_for(folder):
    path = folder / POINT / "manifest.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RecordError, match="no regular file"):
        read_manifest(path)
