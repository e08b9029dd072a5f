"""Every shell script of the repository parses, is executable and passes shellcheck."""

import os
import subprocess

import pytest

from tests.needs import need
from tests.setup.stubs import ROOT

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.sh", ".ci/run", "scripts/*.sh", "deploy/**/*.sh", "deploy/**/*.sbatch", "tests/**/*.sh")
    for path in ROOT.glob(pattern)
)


def test_the_scripts_are_found() -> None:
    assert {"run_all.sh", ".ci/run", "scripts/setup.sh", "deploy/slurm/sweep.sbatch"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_parses_and_can_be_run(script: str) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    assert os.access(ROOT / script, os.X_OK)


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_passes_shellcheck(script: str) -> None:
    need("shellcheck")
    done = subprocess.run(["shellcheck", ROOT / script], capture_output=True, text=True, check=False)
    assert done.stdout == ""


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_stops_at_the_first_error(script: str) -> None:
    assert "\nset -euo pipefail\n" in (ROOT / script).read_text()
