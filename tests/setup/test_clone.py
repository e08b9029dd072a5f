"""The scripts in a fresh clone, with the real harness: the study that run_all.sh would pick there can be planned."""

import subprocess
from pathlib import Path

import pytest

from tests.needs import need
from tests.setup.clones import active_environment, clone


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    need("git", "flock")
    folder = tmp_path_factory.mktemp("fresh")
    return clone(folder / "clone"), active_environment(folder / "environment")


def run(fresh: tuple[Path, dict[str, str]], *command: str) -> subprocess.CompletedProcess[str]:
    root, environ = fresh
    return subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_a_fresh_clone_plans_its_default_study_from_its_own_files(fresh: tuple[Path, dict[str, str]]) -> None:
    code = "import ragbench; print(ragbench.__file__)"
    assert run(fresh, "scripts/setup.sh", "python", "-c", code).stdout.strip() == f"{fresh[0]}/ragbench/__init__.py"
    done = run(fresh, "scripts/setup.sh", "python", "-m", "ragbench", "run", "smoke", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "points to measure" in done.stdout


def test_a_fresh_clone_holds_no_leftovers(fresh: tuple[Path, dict[str, str]]) -> None:
    leftovers = {".venv", "ragbench.egg-info", ".setup.lock", ".mypy_cache", ".ruff_cache", "__pycache__"}
    assert not leftovers & {path.name for path in clone(fresh[0].parent / "again").rglob("*")}


@pytest.mark.slow
def test_run_all_in_a_fresh_clone_passes_a_wrong_flag_to_the_harness(fresh: tuple[Path, dict[str, str]]) -> None:
    done = run(fresh, "./run_all.sh", "smoke", "--frobnicate")
    assert done.returncode == 2
    assert "--frobnicate" in done.stderr
