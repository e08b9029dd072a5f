"""The devices in a value of CUDA_VISIBLE_DEVICES, as CUDA reads it."""

import re
from itertools import takewhile

_NAME = re.compile(r"\d+|(GPU|MIG)-\S+")


def named(visible: str) -> tuple[str, ...]:
    """Numbers and UUIDs (`GPU-...`, `MIG-...`), each once, up to the first other name, where CUDA stops reading.

    So `0,-1,1` is GPU 0 alone, and `NoDevFiles`, which SLURM sets for none, is none. Source: CUDA C++ Programming
    Guide, CUDA Environment Variables.
    """
    names = (name.strip() for name in visible.split(","))
    return tuple(dict.fromkeys(takewhile(_NAME.fullmatch, names)))
