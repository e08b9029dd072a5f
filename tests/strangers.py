"""Run a command as a user of whom the system knows nothing: no passwd entry, no right to write, any home or none.

Needs root. Where the interpreter lies in a folder that only root may enter, a private view of the file system opens it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.needs import need

UID = 54_321
ROOT = Path(__file__).parents[1]
_OPENED = """
set -eu
closed=$1 within=$2; shift 2
hold=$(mktemp -d)
mount --bind "$within" "$hold"
mount -t tmpfs -o mode=755 none "$closed"
mkdir -p "$within"
mount --move "$hold" "$within"
exec "$@"
"""


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter and write to, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="ragbench-stranger-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


def as_stranger(
    words: Sequence[object], environment: Mapping[str, str], *, deadline_s: float = 90.0
) -> subprocess.CompletedProcess[str]:
    """Run it with `environment` and little else, from the repository. Skips the test for whom cannot become another."""
    need("setpriv")
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    argv = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", *map(str, words)]
    for within in {Path(sys.base_prefix), Path(sys.prefix), ROOT}:
        if (closed := _closed(within)) is not None:
            child = closed / within.relative_to(closed).parts[0]
            argv = ["sh", "-c", _OPENED, "sh", str(closed), str(child), *argv]
    if argv[0] == "sh":
        argv = ["unshare", "-m", *argv]
        if not may_mount():
            pytest.skip("the interpreter lies where only root may read, and mounts are not allowed here")
    basic = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
    return subprocess.run(
        argv, cwd=ROOT, env=basic | dict(environment), capture_output=True, text=True, timeout=deadline_s, check=False
    )


def may_mount() -> bool:
    """Whether mounts are allowed, in a view of the file system that nobody else has."""
    probe = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"]
    return sys.platform == "linux" and subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _closed(path: Path) -> Path | None:
    """The first folder on the way to `path` that others may not enter."""
    ways = (folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001)
    return next(ways, None)
