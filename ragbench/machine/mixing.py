"""The code that runs, as a checksum, and whether earlier points come from this machine and this code.

Points of two machines, or of two states of the code, in one folder look like repeats and are none.
"""

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ragbench.results.paths import PACKAGE

PACKAGES = ("peers", "policies", "ragbench", "servers")
SHOWN = 12  # digits of the checksum in tables


@functools.cache
def code_sha256() -> str:
    """Over the path and bytes of every Python file of the harness and of the servers that ship with it; without git."""
    root = PACKAGE.parent
    digest = hashlib.sha256()
    for file in sorted(file for name in PACKAGES for file in (root / name).rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def strangers(manifests: Iterable[Mapping[str, Any]], *, hardware: str, hostname: str, code: str) -> list[str]:
    """A line for each other machine, and each other state of the code, that points come from, with their number."""
    machines = Counter(map(machine_of, manifests := list(manifests)))
    codes = Counter((code_of(m), str(m.get("git_commit"))[:9]) for m in manifests)
    here = f"{hardware} ({hostname})"
    return [
        *(f"measured on {machine}: {n}; this machine is {here}" for machine, n in machines.items() if machine != here),
        *(
            f"measured with the code {other} (commit {commit}): {n}; the code is now {code[:SHOWN]}"
            for (other, commit), n in codes.items()
            if other not in (None, code[:SHOWN])
        ),
    ]


def machine_of(manifest: Mapping[str, Any]) -> str:
    """The machine of a point, its name in brackets."""
    hostname = (manifest.get("hardware") or {}).get("hostname")
    return f"{manifest['summary'].get('hardware')} ({hostname})"


def code_of(manifest: Mapping[str, Any]) -> str | None:
    """The first digits of the checksum of a point's code; None if the manifest has none."""
    checksum = manifest.get("code_sha256")
    return None if checksum is None else str(checksum)[:SHOWN]
