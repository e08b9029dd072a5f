"""Which programs a test cannot do without. A missing one skips the test, or fails it where .ci/run promised it."""

import os
import shutil
from pathlib import Path

import pytest

PROMISED = Path(__file__).parents[1] / ".ci" / "packages"


def need(*programs: str) -> None:
    """Skip the test that calls this when a program is not on PATH; under CI=true fail for those of .ci/packages."""
    missing = [program for program in programs if shutil.which(program) is None]
    promised = {line.split()[0] for line in PROMISED.read_text().splitlines() if line and not line.startswith("#")}
    broken = [program for program in missing if program in promised] if os.environ.get("CI") == "true" else []
    if broken:
        pytest.fail(f"wanted {', '.join(broken)} on PATH, which .ci/run should have installed (.ci/packages)")
    if missing:
        pytest.skip(f"needs {', '.join(missing)} on PATH")
