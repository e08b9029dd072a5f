"""A clone as git would make it, and an environment that stands in for a finished set-up without installing anything."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.setup.stubs import PIP, ROOT


def clone(folder: Path) -> Path:
    """Copy what git tracks, or would track, to an empty folder. Skips the test outside a git checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout, to know what a clone would hold")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def active_environment(folder: Path) -> dict[str, str]:
    """Return variables that make an environment in `folder` the active one: these packages and an idle pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (packages / "present.pth").write_text(sysconfig.get_path("purelib") + "\n" + sysconfig.get_path("platlib") + "\n")
    (packages / "pip.py").write_text(PIP)
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    return {"VIRTUAL_ENV": str(folder), "PATH": path, "HOME": os.environ["HOME"], "CALLS": str(folder / "calls")}
