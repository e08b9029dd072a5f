"""Which GPUs there are, and which of them a replica gets. Imports no torch."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from policies.devices import named

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """The GPUs of CUDA_VISIBLE_DEVICES; if it is unset, numbers from 0 for the NVIDIA devices of this machine.

    Only their count matters: in a container with /dev/nvidia3 alone, CUDA calls that GPU 0. A GPU in MIG mode counts as
    its first slice, unless CUDA_VISIBLE_DEVICES names others.
    """
    visible = environment.get(VISIBLE)
    if visible is not None:
        return list(named(visible))
    count = sum(1 for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    return [str(number) for number in range(count)]


def least_used(gpus: Iterable[str], taken: Iterable[str | None]) -> str | None:
    """The GPU with the fewest replicas, the first at a tie."""
    used = Counter(taken)
    return min(gpus, key=lambda gpu: used[gpu], default=None)
