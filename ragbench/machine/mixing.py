"""Whether points that were measured before come from this machine and this code. Pure.

Points of two machines, or of two states of the code, in one folder look like repeats and are none.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ragbench.machine.checkout import SHOWN


def strangers(manifests: Iterable[Mapping[str, Any]], *, hardware: str, hostname: str, code: str) -> list[str]:
    """A line for each other machine, and each other state of the code, that points come from, with their number."""
    machines: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for manifest in manifests:
        machine = machine_of(manifest)
        if machine != f"{hardware} ({hostname})":
            machines[machine] += 1
        if code_of(manifest) not in (None, code[:SHOWN]):
            codes[f"{code_of(manifest)} (commit {str(manifest.get('git_commit'))[:9]})"] += 1
    return [
        *(f"measured on {machine}: {n}; this machine is {hardware} ({hostname})" for machine, n in machines.items()),
        *(f"measured with the code {told}: {n}; the code is now {code[:SHOWN]}" for told, n in codes.items()),
    ]


def machine_of(manifest: Mapping[str, Any]) -> str:
    """The machine of a point, its name in brackets."""
    hostname = (manifest.get("hardware") or {}).get("hostname")
    return f"{manifest['summary'].get('hardware')} ({hostname})"


def code_of(manifest: Mapping[str, Any]) -> str | None:
    """The first digits of the checksum of a point's code; None in files of before it was kept."""
    checksum = manifest.get("code_sha256")
    return None if checksum is None else str(checksum)[:SHOWN]
