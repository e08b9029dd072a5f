"""Which GPUs there are, and which of them a replica gets. Imports no torch: the balancer holds no device."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["VISIBLE", "least_used", "visible_gpus"]

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them, or, where it is unset, every NVIDIA device of the machine by its number."""
    named = environment.get(VISIBLE)
    if named is not None:
        return [part.strip() for part in named.split(",") if part.strip() not in ("", "-1", "NoDevFiles")]
    numbers = [match[1] for path in devices.glob("nvidia*") if (match := re.fullmatch(r"nvidia(\d+)", path.name))]
    return sorted(numbers, key=int)


def least_used(gpus: Iterable[str], taken: Iterable[str | None]) -> str | None:
    """The GPU with the fewest replicas, the first of them at a tie: round robin, several each where there are fewer."""
    used = Counter(taken)
    return min(gpus, key=lambda gpu: used[gpu], default=None)
