"""Run a command to its end, hear its lines, and leave nothing of it. What the lines mean is in messages.py."""

import asyncio
import shlex
import shutil
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

from ragbench.files.toml_tables import StudyError
from ragbench.processes.family import family, kill, mark_of_its_own, marked, still_running
from ragbench.processes.launch import HURRIED_GRACE_S
from ragbench.processes.spawn import chunks, signal_group, spawn

_REAP_S = 2.0
_LONGEST_LINE = 1 << 20


def argv_of(command: str) -> list[str]:
    """The words of a command; "python" is the one that runs this. Raises StudyError where it cannot be started."""
    words = shlex.split(command)
    if words[:1] == ["python"]:
        words[0] = sys.executable
    if shutil.which(words[0]) is None:
        raise StudyError([f"cannot start: {command}: there is no command {words[0]!r} here or on PATH"])
    return words


async def hear(argv: Sequence[str], *, log: Path, timeout_s: float, on_line: Callable[[bytes], None]) -> int:
    """Run `argv` in a session of its own, its stderr appended to `log`; -> its exit status, negative for a signal.

    Raises TimeoutError when it takes longer. Ended, late or cancelled: by the time this returns or raises, nothing it
    started runs, and every line was heard.
    """
    mark = mark_of_its_own()
    process, stdout = await spawn(argv, log=log, mark=mark)
    hearing = asyncio.create_task(_each_line(stdout, on_line), name="stdout of the measuring process")
    try:
        async with asyncio.timeout(timeout_s):
            code = await process.wait()
    finally:
        await _end(process, mark)
        await asyncio.wait({hearing}, timeout=_REAP_S)
        hearing.cancel()
        await asyncio.wait({hearing})
    if not hearing.cancelled():
        hearing.result()  # whatever `on_line` raised
    return code


async def _each_line(stdout: int, on_line: Callable[[bytes], None]) -> None:
    pending = b""
    async with aclosing(chunks(stdout)) as printed:
        async for chunk in printed:
            *lines, pending = (pending + chunk).split(b"\n")
            pending = pending[-_LONGEST_LINE:]
            for line in filter(None, lines):
                on_line(line)
    if pending:
        on_line(pending)


async def _end(process: Process, mark: Mapping[str, str]) -> None:
    """SIGTERM to its group and time to end, then SIGKILL to whatever is left of it, and reap."""
    members = family(process.pid)
    try:
        if process.returncode is None:
            signal_group(process.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(HURRIED_GRACE_S):
                    await process.wait()
    finally:
        members |= family(process.pid) | marked(mark)
        kill(still_running(members))
    await process.wait()
