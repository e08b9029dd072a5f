"""Which devices a value of CUDA_VISIBLE_DEVICES names, as CUDA reads it. Looks at no machine."""

import re
from itertools import takewhile

_NAME = re.compile(r"\d+|(GPU|MIG)-\S+")


def named(visible: str) -> tuple[str, ...]:
    """Numbers and UUIDs (`GPU-...`, `MIG-...`), each once; CUDA passes over all from the first other name on.

    So `0,-1,1` is GPU 0 alone, and `NoDevFiles`, which SLURM writes for none, is none. Whether there are such devices
    is not known here. Source: CUDA C++ Programming Guide, CUDA Environment Variables.
    """
    names = (name.strip() for name in visible.split(","))
    return tuple(dict.fromkeys(takewhile(_NAME.fullmatch, names)))
