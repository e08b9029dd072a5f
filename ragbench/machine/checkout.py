"""Which code runs: a checksum of this project's own sources. Runs nothing; needs no git."""

import functools
import hashlib

from ragbench.results.paths import PACKAGE

PACKAGES = ("peers", "policies", "ragbench", "servers")
SHOWN = 12  # digits of the checksum in tables


@functools.cache
def code_sha256() -> str:
    """Over the path and bytes of every Python file of the harness and of the servers that ship with it."""
    root = PACKAGE.parent
    digest = hashlib.sha256()
    for file in sorted(file for name in PACKAGES for file in (root / name).rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
