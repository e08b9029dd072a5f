"""Which processes belong to a server or to this process, and an end to all of them.

A server's are its session, its descendants, and whatever carries its mark: a variable of its environment, inherited by
its descendants. So a daemon is known even when its parents have ended; one that clears its environment is known while
it has a parent among the others.

On Linux this process adopts orphans while a command runs, so that all its descendants are known, even in sessions of
their own. A `psutil.Process` knows when its process started, so a later process with the same id is another.
"""

import ctypes
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

import psutil

_MARK = "RAGBENCH_SERVER"
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_ROUNDS = 3  # a process may start another just before it is killed
_T = TypeVar("_T")


def family(leader: int) -> set[psutil.Process]:
    """The running processes in the session of `leader` and their descendants, wherever they are."""
    alive = {process.pid: process for process in psutil.process_iter()}
    parents = {pid: _known(process.ppid) for pid, process in alive.items()}
    members = {pid for pid in alive if pid == leader or _known(partial(os.getsid, pid)) == leader}
    while more := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= more
    return still_running({alive[pid] for pid in members})


def mark_of_its_own() -> Mapping[str, str]:
    """A new mark, to be added to the environment of a server."""
    return {_MARK: secrets.token_hex(8)}


def marked(mark: Mapping[str, str]) -> set[psutil.Process]:
    """The running processes that carry a mark."""
    marks = {process: _known(process.environ) or {} for process in psutil.process_iter()}
    return still_running({process for process, environ in marks.items() if mark.items() <= environ.items()})


def names(members: Iterable[psutil.Process]) -> str:
    """Processes in a message: `sleep (977), sh (978)`."""
    ordered = sorted(members, key=lambda process: process.pid)
    return ", ".join(f"{_known(process.name) or '?'} ({process.pid})" for process in ordered)


def still_running(members: set[psutil.Process]) -> set[psutil.Process]:
    """The running ones of `members`. A zombie has ended and waits to be reaped."""
    return {
        process
        for process in members
        if _known(process.is_running) and _known(process.status) not in (None, psutil.STATUS_ZOMBIE)
    }


def kill(members: set[psutil.Process]) -> None:
    """SIGKILL each of `members` that still runs."""
    for process in members:
        with suppress(psutil.NoSuchProcess):  # it ended in between
            process.kill()


def descendants() -> set[psutil.Process]:
    """The running descendants of this process."""
    return still_running(set(psutil.Process().children(recursive=True)))


def end_all_but(before: set[psutil.Process]) -> None:
    """SIGKILL every descendant that is not one of `before`, nor a descendant of one."""
    for _ in range(_ROUNDS):
        spared = before.union(*(_known(partial(process.children, recursive=True)) or () for process in before))
        left = descendants() - spared
        if not left:
            return
        kill(left)


@contextmanager
def none_outlives() -> Iterator[None]:
    """Descendants that start inside and still run at the end are killed."""
    before = descendants()
    try:
        yield
    finally:
        end_all_but(before)


@contextmanager
def orphans_adopted() -> Iterator[None]:
    """Descendants whose parents end become children of this process (Linux)."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: 0
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _known(look: Callable[[], _T]) -> _T | None:
    """What `look` gives; None where the process has ended or is another user's."""
    try:
        return look()
    except (psutil.Error, OSError, ValueError):
        return None
