"""Freed memory stays in the process, unless its user chose otherwise."""

import subprocess
import sys

import pytest

from servers.rag.allocator import keep_memory

FAULTS = """
import resource, sys
import numpy as np
from servers.rag.allocator import keep_memory

if len(sys.argv) > 1:
    assert keep_memory({})

def fault():
    for megabytes in (1, 20, 200):
        np.ones(megabytes << 20, dtype=np.uint8)

fault()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    fault()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*told: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS, *told], check=True, capture_output=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_arrays_that_are_freed_and_made_again_fault_no_pages() -> None:
    pages_of_200_mib = (200 << 20) // (2 << 20)  # at the least, if all of them are huge
    assert faults() > 5 * pages_of_200_mib
    assert faults("kept") < pages_of_200_mib


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_what_the_user_has_set_holds(name: str) -> None:
    assert not keep_memory({name: "1"})
