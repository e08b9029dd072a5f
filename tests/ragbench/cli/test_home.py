"""Commands of users without a home folder, or without a passwd entry: whole runs, and what they are told."""

import json
import os
import pwd
import sys
from pathlib import Path

import pytest

from ragbench.cli import home
from ragbench.machine.git import code_origin
from tests.ragbench.running import FAKE, write_study
from tests.strangers import UID, as_stranger, open_folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({}, f"user {UID} has no home folder: "),
        ({"HOME": "/nonexistent"}, "there is no home folder /nonexistent: "),
        ({"HOME": "/usr"}, "the home folder /usr cannot be written: "),
    ],
)
def test_a_study_of_a_stranger_is_measured_and_reported(environment: dict[str, str], line: str) -> None:
    with open_folder() as folder:
        study = write_study(folder, f'[designs.a]\ncommand = "python {FAKE}"\n')
        words = [sys.executable, "-m", "ragbench", "run", study, "--results", folder / "r"]
        done = as_stranger(words, environment | {"TMPDIR": str(folder)})
        assert done.returncode == 0, done.stderr
        assert (folder / "r" / "study" / "report.html").is_file()
        (manifest,) = folder.glob("r/study/*/manifest.json")
        assert json.loads(manifest.read_text())["git_commit"] == code_origin().commit
        assert not list(folder.glob("ragbench-*"))
    first, *rest = done.stderr.splitlines()
    assert first.startswith(f"{line}what libraries cache goes to ")
    # So short a run has no intervals and says so; a busy machine spoils it, and that is said too.
    # jupyter interrupts a kernel before it stops it, which an idle kernel tells of now and then.
    assert [
        text for text in rest if not text.startswith(("[1/1]", "[IPKernelApp]", "latency ", "1 contaminated;"))
    ] == []


@pytest.mark.slow
def test_a_results_folder_that_may_not_be_written_is_a_line() -> None:
    with open_folder() as folder:
        study = write_study(folder, f'[designs.a]\ncommand = "python {FAKE}"\n')
        words = [sys.executable, "-m", "ragbench", "run", study, "--results", "/usr/r"]
        done = as_stranger(words, {"HOME": str(folder)})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "/usr/r: Permission denied\n"


def test_a_home_that_can_be_written_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"HOME": str(tmp_path), "USER": "me"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        home.settle(environment)
    assert environment == {"HOME": str(tmp_path), "USER": "me"}
    assert capsys.readouterr().err == ""


def test_a_home_that_can_be_read_stays_and_what_is_set_already_stays(tmp_path: Path) -> None:
    told = home.changes({"MPLCONFIGDIR": "/mine"}, tmp_path, has_home=True)
    assert {"HOME", "MPLCONFIGDIR"}.isdisjoint(told)
    assert told["IPYTHONDIR"] == str(tmp_path / "ipython")
    assert home.changes({}, tmp_path, has_home=False)["HOME"] == str(tmp_path)


def test_a_user_without_a_passwd_entry_gets_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    environment: dict[str, str] = {}
    home.settle(environment)
    assert environment == {"USER": f"uid-{os.getuid()}"}
