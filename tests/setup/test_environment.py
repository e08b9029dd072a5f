"""environment.yml says the same as pyproject.toml and constraints.txt, which it stands beside."""

import re
import tomllib

from tests.setup.stubs import ROOT

CONDA = (ROOT / "environment.yml").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_conda_s_file_names_every_dependency_of_the_project() -> None:
    named = set(re.findall(r"[\w-]+", CONDA))
    wanted = {re.split(r"[\[<>=~ ]", line)[0] for line in PROJECT["dependencies"]}
    assert wanted - named == set()


def test_conda_s_file_installs_the_project_by_pip_from_the_same_lists() -> None:
    lines = [line.strip() for line in CONDA.splitlines()]
    assert lines[lines.index("- pip:") + 1 :] == ["- -c constraints.txt", "- -e .[dev]"]
    assert "- python=3.11" in lines


def test_torch_is_pinned_to_a_version_that_every_build_of_it_has() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    assert len(pins) == 1
    assert "+" not in pins[0]
