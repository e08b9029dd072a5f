"""What this process has started, and what that has started in turn: find it, and leave none of it. Waits for no end.

A process whose parent has ended belongs to nobody that could be asked for it. On Linux this process adopts such orphans
while a command runs, so that none is out of sight, not even one in a session of its own.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from ragbench.processes.family import kill, still_running

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_ROUNDS = 3  # what is killed may just have started another


def descendants() -> set[psutil.Process]:
    """Those of this process that run now."""
    return still_running(set(psutil.Process().children(recursive=True)))


def end_all_but(before: set[psutil.Process]) -> None:
    """SIGKILL every descendant that is not one of `before`, nor a descendant of one."""
    for _ in range(_ROUNDS):
        spared = before.union(*(_below(process) for process in before))
        left = descendants() - spared
        if not left:
            return
        kill(left)


@contextmanager
def none_outlives() -> Iterator[None]:
    """What is started meanwhile, and still runs at the end, is killed."""
    before = descendants()
    try:
        yield
    finally:
        end_all_but(before)


@contextmanager
def orphans_adopted() -> Iterator[None]:
    """Descendants whose parents end become children of this process; where the system cannot do that, they do not."""
    _adopt(True)
    try:
        yield
    finally:
        _adopt(False)


def _below(process: psutil.Process) -> set[psutil.Process]:
    try:
        return set(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def _adopt(is_wanted: bool) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(is_wanted), 0, 0, 0)
