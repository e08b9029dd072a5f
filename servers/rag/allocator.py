"""glibc's allocator, told to keep freed memory. Without that each run returns its arrays to the kernel.

The next run then asks for the same pages again, and the kernel clears each of them: a quarter of an engine's time.
"""

import ctypes
import os
from collections.abc import Mapping

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_KEPT_BYTES = 2_000_000_000  # free memory at the end of the heap that is not returned
_LARGEST_BYTES = 1_000_000_000  # an array of more bytes is mapped by itself, and returned when it is freed
_CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Set both thresholds for this process. -> whether they are set.

    Not where the user has set them or another allocator, and not without glibc.
    """
    if any(name in environment for name in _CHOSEN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # macOS, musl; Windows wants a name
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT_BYTES) and mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES))
