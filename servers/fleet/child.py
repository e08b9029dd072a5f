"""A child process: its ready line, the end of its output, its end."""

import asyncio
import json
import logging
import os
import signal
from contextlib import suppress

from servers.tasks import within

log = logging.getLogger(__name__)
_CHUNK = 65_536
_EXIT_S = 1.0  # time to exit after closing the output


async def is_ready_line_said(process: asyncio.subprocess.Process) -> bool:
    """Wait for the ready line; False if the output ends without it."""
    assert process.stdout is not None, "started with a pipe"
    while True:
        try:
            line = await process.stdout.readline()
            if not line:
                return False
            if json.loads(line).get("ready") is True:
                return True
        except (ValueError, AttributeError):
            continue  # another line, or one that is too long


async def end_of_output(process: asyncio.subprocess.Process) -> None:
    """Wait until the process closes its stdout, as it does when it ends."""
    assert process.stdout is not None, "started with a pipe"
    while await process.stdout.read(_CHUNK):
        pass


async def status_of(process: asyncio.subprocess.Process) -> int:
    """The exit status of a process that has closed its output; it is killed if it goes on."""
    if not await within(process.wait(), _EXIT_S):
        await end(process, 0.0)
    return await process.wait()


async def end(process: asyncio.subprocess.Process, patience_s: float) -> None:
    """End and reap a process: SIGTERM, `patience_s` to finish, then SIGKILL to its process group; 0 s: SIGKILL only."""
    if process.returncode is None and patience_s > 0:
        process.terminate()
        if not await within(process.wait(), patience_s + 1.0):
            log.warning("pid %d did not stop after %g s: killed", process.pid, patience_s + 1.0)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
