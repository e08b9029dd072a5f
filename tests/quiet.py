"""Whether the machine is quiet enough for a test that measures time."""

import os

import psutil
import pytest

MOST_BUSY = 0.25
"""Cores that other programs may keep busy."""
LOOK_S = 0.5


def busy_cores() -> float:
    """How many cores are busy while this process sleeps, over half a second."""
    return psutil.cpu_percent(LOOK_S) / 100 * (psutil.cpu_count() or 1)


def need_quiet() -> None:
    """Skip the test that calls this beside other tests, or where other programs keep a core busy."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("measures time: runs alone, in `pytest -m timing`")
    if (busy := busy_cores()) > MOST_BUSY:
        pytest.skip(f"measures time: other programs keep {busy:.2f} cores busy, at most {MOST_BUSY} may be")
