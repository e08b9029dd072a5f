"""The commit of the code that runs, whoever owns it and wherever the command was started."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ragbench.machine import git
from ragbench.machine.git import Origin, code_origin, origin_of, study_origin
from tests.needs import need
from tests.ragbench.running import ragbench, write_study
from tests.strangers import as_stranger, open_folder


@pytest.fixture(autouse=True)
def _git() -> None:
    need("git")


def repository(folder: Path, file: str = "mine.toml") -> str:
    """A repository with one committed file. -> the commit."""
    folder.mkdir(parents=True, exist_ok=True)
    call = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t"]
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).touch()
    for words in (["init", "-q"], ["add", file], ["commit", "-qm", "one"]):
        subprocess.run([*call, *words], check=True)
    return subprocess.run([*call, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_of_a_file_and_whether_anything_differs_from_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    assert origin_of(file) == Origin()
    commit = repository(tmp_path)
    assert origin_of(file) == Origin(tmp_path, commit, False, is_tracked=True)
    (tmp_path / "b").write_text("new")
    assert origin_of(file) == Origin(tmp_path, commit, True, is_tracked=True)
    assert origin_of(tmp_path / "b") == Origin(tmp_path, commit, True, is_tracked=False)


@pytest.mark.slow
def test_a_run_started_in_another_repository_records_the_codes_commit(tmp_path: Path) -> None:
    """And beside it that of the study, which lies there. As from a hook, git's own variables point there, too."""
    commit = repository(tmp_path, "study.toml")
    write_study(tmp_path, '[designs.a]\ncommand = "FAKE"\n')
    done = subprocess.run(
        [sys.executable, "-m", "ragbench", "run", "study.toml", "--no-report"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(git.PACKAGE.parent), "GIT_DIR": str(tmp_path / ".git")},
        capture_output=True,
        text=True,
        check=False,
    )
    (path,) = tmp_path.glob("results/study/*/manifest.json")
    manifest = json.loads(path.read_text())
    assert done.returncode == 0, done.stderr
    assert manifest["git_commit"] == code_origin().commit != commit
    assert (manifest["study_git_commit"], manifest["study_git_dirty"]) == (commit, True)


def test_a_study_beside_the_code_has_no_commit_of_its_own() -> None:
    code = code_origin()
    if code.commit is None:
        pytest.skip("this checkout is of no commit")
    assert study_origin(git.PACKAGE.parent / "studies" / "smoke.toml", code) == Origin()


def test_a_study_that_git_does_not_know_differs_from_the_commit(tmp_path: Path) -> None:
    commit = repository(tmp_path)
    (tmp_path / ".gitignore").write_text("*\n")
    (tmp_path / "ignored.toml").touch()
    assert study_origin(tmp_path / "mine.toml", Origin()) == Origin(tmp_path, commit, False, is_tracked=True)
    assert study_origin(tmp_path / "ignored.toml", Origin()) == Origin(tmp_path, commit, True)


def test_installed_code_is_not_of_the_repository_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository(tmp_path)
    package = tmp_path / ".venv" / "ragbench"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setattr(git, "PACKAGE", package)
    assert code_origin() == Origin()


def test_a_repository_of_another_user_is_read(tmp_path: Path) -> None:
    """Git refuses it as of dubious ownership, in silence for who only looks at its output."""
    with open_folder() as folder:
        commit = repository(folder / "theirs")
        code = (
            f"from pathlib import Path; from ragbench.machine.git import origin_of; "
            f"print(origin_of(Path({str(folder / 'theirs' / 'mine.toml')!r})))"
        )
        done = as_stranger([sys.executable, "-c", code], {"HOME": str(folder)})
    assert commit in done.stdout, done.stderr
    assert "problem=None" in done.stdout


@pytest.mark.slow
def test_a_repository_that_cannot_be_read_is_a_line_and_the_point_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(tmp_path, "study.toml")
    write_study(tmp_path, '[designs.a]\ncommand = "FAKE"\n')
    shutil.rmtree(tmp_path / ".git" / "refs")
    done = ragbench("run", tmp_path / "study.toml", "--results", tmp_path / "r", "--no-report")
    (path,) = tmp_path.glob("r/study/*/manifest.json")
    assert json.loads(path.read_text())["study_git_commit"] is None
    assert done.stderr.count("no commit of") == 1
    assert f"no commit of {tmp_path} is recorded: fatal: not a git repository" in done.stderr
    monkeypatch.setenv("PATH", "")
    assert origin_of(tmp_path / "x") == Origin(problem=f"no commit of {tmp_path} is recorded: there is no git on PATH")
