"""Which processes belong to a server: its session and all its descendants, also those in sessions of their own.

A `psutil.Process` remembers when its process started, so a later process with the same id is never taken for it.
"""

import os

import psutil


def family(leader: int) -> set[psutil.Process]:
    """The running processes in the session of `leader` and their descendants, wherever they are."""
    alive = {process.pid: process for process in psutil.process_iter()}
    parents = {pid: parent for pid, process in alive.items() if (parent := _parent(process)) is not None}
    members = {pid for pid in alive if pid == leader or _session(pid) == leader}
    while found := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= found
    return still_running({alive[pid] for pid in members})


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
