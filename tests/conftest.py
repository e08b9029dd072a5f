"""For every test: one thread for torch and BLAS, in the tests and in the servers that they start; Ctrl-C works.

Two threads wait for each other, spinning, wherever another program has one of the cores: on two shared cores a test of
generation took 65 s with two and 2.6 s with one. Set before anything imports torch. A shell that starts this in the
background has SIGINT ignored, by all that is started here as well.
"""

import os
import signal

import pytest

from tests.quiet import need_quiet

os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked `timing` runs alone, on a quiet machine."""
    if item.get_closest_marker("timing"):
        need_quiet()
