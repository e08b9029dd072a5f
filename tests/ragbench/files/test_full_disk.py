"""A disk that gets full: on a real one, of 1 MiB. What was measured is kept, the rest is a line."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragbench.files.unwritten import kept_elsewhere, line_of, naming
from ragbench.results.records import read_manifests, write_atomic
from tests.ragbench.running import FAKE, fakes_alive, ragbench, write_study
from tests.strangers import may_mount

LOAD = 'arrivals = ["ideal"]\nrates = [300]\nrequests = 300\nready_timeout_s = 20'


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if not may_mount():
        pytest.skip("only who may mount can have a disk of 1 MiB")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def leave(disk: Path, *, bytes_free: int) -> Path:
    """Fill the disk but for so much."""
    room = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - bytes_free))
    return ballast


def study(folder: Path, *, seeds: int = 3) -> Path:
    path = write_study(folder, f'[designs.a]\ncommand = "FAKE --mark {folder}"\n', load=LOAD)
    path.write_text(path.read_text().replace("seeds = [1]", f"seeds = {list(range(1, 1 + seeds))}"))
    return path


@pytest.mark.slow
def test_a_disk_that_gets_full_costs_no_point(tmp_path: Path, disk: Path) -> None:
    """Two points fit. The third is kept elsewhere; moved to its place, it is whole, and the study goes on from it."""
    ballast = leave(disk, bytes_free=150_000)
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(elsewhere))
        done = ragbench("run", study(tmp_path, seeds=4), "--results", disk / "r", "--no-report")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    results = disk / "r" / "study"
    *_, where, kept = done.stderr.splitlines()
    point = next(path for path in elsewhere.glob("ragbench-kept-*/a-*"))
    assert where.startswith(f"{results}/.{point.name}.partial/")
    assert "No space left on device (" in where
    assert where.endswith(" of 1 MiB are free)")
    assert kept.startswith(
        f"{point.name} was measured and is kept in {point.parent}: make room, move it into {results}"
    )
    assert fakes_alive(tmp_path) == []
    assert not list(results.glob(".*.partial"))
    whole = [manifest["point"]["name"] for manifest in read_manifests(results)]
    assert len(whole) >= 1
    ballast.unlink()
    shutil.move(point, results)
    again = ragbench("run", tmp_path / "study.toml", "--results", disk / "r", "--no-report")
    assert f"kept: {len(whole) + 1} points" in again.stderr
    assert len(read_manifests(results)) == 4


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start_is_a_line(tmp_path: Path, disk: Path) -> None:
    leave(disk, bytes_free=0)
    done = ragbench("run", study(tmp_path), "--results", disk / "r", "--no-report")
    assert done.returncode == 2
    assert done.stderr == f"{disk / 'r' / 'study' / 'study.toml'}: No space left on device (0.0 of 1 MiB are free)\n"


@pytest.mark.slow
def test_a_server_whose_log_does_not_fit_is_measured_all_the_same(tmp_path: Path, disk: Path) -> None:
    """Its ready line goes to the log, too; and what it prints is read on, or it would stand still."""
    file = study(tmp_path, seeds=1)
    wrapper = f"bash {FAKE.parent / 'full.sh'} {disk} {sys.executable} {FAKE}"
    file.write_text(file.read_text().replace(f"python {FAKE}", wrapper))
    done = ragbench("run", file, "--results", disk / "r", "--no-report")
    assert "No space left on device (0.0 of 1 MiB are free)" in done.stderr
    assert "was measured and is kept in" in done.stderr
    kept = Path(done.stderr.split("is kept in ")[1].split(":")[0])
    summary = json.loads((kept / "a-ideal-300rps-seed1" / "manifest.json").read_text())["summary"]
    assert summary["completed"] == 300
    shutil.rmtree(kept)


def test_an_error_of_a_write_names_its_file_and_leaves_nothing_aside(tmp_path: Path, disk: Path) -> None:
    leave(disk, bytes_free=8192)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(disk / "sub" / "a.csv", "x" * 100_000)
    assert caught.value.filename == str(disk / "sub" / "a.csv")
    assert list((disk / "sub").iterdir()) == []
    write_atomic(disk / "sub" / "a.csv", "short")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/no/such"), "/no/such: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system"), "a file: Read-only file system"),
        (OSError(errno.ECONNRESET, "Connection reset"), None),
    ],
)
def test_what_is_said_of_an_error(error: OSError, line: str | None) -> None:
    assert line_of(error) == line


def test_a_file_that_an_error_names_already_stays_named() -> None:
    with pytest.raises(FileNotFoundError) as caught, naming(Path("other")):
        Path("/no/such/file").read_text(encoding="utf-8")
    assert caught.value.filename == "/no/such/file"


def test_what_fits_nowhere_is_lost_aloud(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "x"))

    first = OSError(errno.EROFS, "Read-only file system", "r/a.csv")
    lines = kept_elsewhere(first, fail, what="point a", into=tmp_path)
    assert lines[0] == "r/a.csv: Read-only file system"
    assert lines[1].startswith("point a was measured and is lost: ")
    assert "No space left on device (" in lines[1]
