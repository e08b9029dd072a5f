"""Which GPUs there are, and which of them a replica gets. Imports no torch: the balancer holds no device."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from policies.devices import named

__all__ = ["VISIBLE", "least_used", "visible_gpus"]

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them; where it is unset, as many numbers from 0 as there are NVIDIA devices here.

    A container that was given one GPU has /dev/nvidia3, say, and its CUDA calls that 0. A GPU in MIG mode counts as
    one, its first slice: the others are used where CUDA_VISIBLE_DEVICES names them.
    """
    visible = environment.get(VISIBLE)
    if visible is not None:
        return list(named(visible))
    count = sum(1 for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    return [str(number) for number in range(count)]


def least_used(gpus: Iterable[str], taken: Iterable[str | None]) -> str | None:
    """The GPU with the fewest replicas, the first of them at a tie: round robin, several each where there are fewer."""
    used = Counter(taken)
    return min(gpus, key=lambda gpu: used[gpu], default=None)
