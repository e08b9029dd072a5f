"""Which processes belong to a server: its session, all its descendants, and whatever still carries its mark.

The mark is a variable of the environment that a server starts with, and its descendants after it: so a daemon is found
whose parents have all ended. One that clears its environment is found while it has a parent among the others.

A `psutil.Process` remembers when its process started, so a later process with the same id is never taken for it.
"""

import os
import secrets
from collections.abc import Iterable, Mapping

import psutil

_MARK = "RAGBENCH_SERVER"


def family(leader: int) -> set[psutil.Process]:
    """The running processes in the session of `leader` and their descendants, wherever they are."""
    alive = {process.pid: process for process in psutil.process_iter()}
    parents = {pid: parent for pid, process in alive.items() if (parent := _parent(process)) is not None}
    members = {pid for pid in alive if pid == leader or _session(pid) == leader}
    while found := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= found
    return still_running({alive[pid] for pid in members})


def mark_of_its_own() -> Mapping[str, str]:
    """A mark that no other server has: what is added to its environment."""
    return {_MARK: secrets.token_hex(8)}


def marked(mark: Mapping[str, str]) -> set[psutil.Process]:
    """The running processes that carry a mark."""
    return still_running({process for process in psutil.process_iter() if _carries(process, mark)})


def told(members: Iterable[psutil.Process]) -> str:
    """Processes in a message: `sleep (977), sh (978)`."""
    return ", ".join(f"{_name(process)} ({process.pid})" for process in sorted(members, key=lambda one: one.pid))


def still_running(members: set[psutil.Process]) -> set[psutil.Process]:
    """Those of `members` that run now. A zombie is over and only waits to be reaped."""
    return {process for process in members if _runs(process)}


def kill(members: set[psutil.Process]) -> None:
    """SIGKILL each of `members` that still runs."""
    for process in members:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue  # it ended between the look and the kill


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _carries(process: psutil.Process, mark: Mapping[str, str]) -> bool:
    try:
        return mark.items() <= process.environ().items()
    except (psutil.Error, OSError, ValueError):
        return False  # over, or of another user


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "?"


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
