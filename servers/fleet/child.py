"""One child process: its ready line, the end of its output, its end. Decides not when."""

import asyncio
import json
import logging
import os
import signal
from collections.abc import Awaitable
from contextlib import suppress

__all__ = ["end", "end_of_output", "is_ready_line_said", "status_of", "within"]

log = logging.getLogger(__name__)
_CHUNK = 65_536
_LAST_S = 1.0  # for a process to end that has closed its output


async def is_ready_line_said(process: asyncio.subprocess.Process) -> bool:
    """True at the ready line, False at the end of the output."""
    assert process.stdout is not None, "started with a pipe"
    while True:
        try:
            line = await process.stdout.readline()
            if not line:
                return False
            if json.loads(line).get("ready") is True:
                return True
        except (ValueError, AttributeError):
            continue  # not the line: whatever else it says, however long, is not for us


async def end_of_output(process: asyncio.subprocess.Process) -> None:
    """Until the process closes its stdout, which its death does."""
    assert process.stdout is not None, "started with a pipe"
    while await process.stdout.read(_CHUNK):
        pass


async def status_of(process: asyncio.subprocess.Process) -> int:
    """The exit status of one that has closed its output; it is killed if it does not end with that."""
    if not await within(process.wait(), _LAST_S):
        await end(process, 0.0)
    return await process.wait()


async def end(process: asyncio.subprocess.Process, patience_s: float) -> None:
    """SIGTERM, time to finish, SIGKILL to its whole group; without patience at once. Reaped in any case."""
    if process.returncode is None and patience_s > 0:
        process.terminate()
        if not await within(process.wait(), patience_s + 1.0):
            log.warning("pid %d did not stop after %g s: killed", process.pid, patience_s + 1.0)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def within(waiting: Awaitable[object], limit_s: float) -> bool:
    """Whether it came to its end in time."""
    try:
        await asyncio.wait_for(waiting, limit_s)
    except TimeoutError:
        return False
    return True
