"""Start a command in a session of its own that ends with this process, and read what it prints. Waits for no end."""

import asyncio
import io
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ragbench.processes import tether

__all__ = ["chunks", "signal_group", "spawn", "tied"]


def tied(argv: Sequence[str]) -> tuple[str, ...]:
    """The command line that runs `argv` and is told to stop when this process dies."""
    return (sys.executable, "-I", "-S", str(tether.__file__), str(os.getpid()), *argv)


async def spawn(argv: Sequence[str], *, log: Path, mark: Mapping[str, str]) -> tuple[Process, int]:
    """Start `argv`, its stderr appended to `log`. -> the process, and a file descriptor to read its stdout from.

    `mark` is added to its environment, for whatever it starts to be found by.
    A pipe of our own, as asyncio's would report the end of the process only when its last child has closed it too.
    """
    stdout, child_stdout = os.pipe()
    try:
        with log.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *tied(argv),
                stdin=DEVNULL,
                stdout=child_stdout,
                stderr=stderr,
                start_new_session=True,
                env=os.environ | dict(mark),
            )
    except BaseException:
        os.close(stdout)
        raise
    finally:
        os.close(child_stdout)
    return process, stdout


async def chunks(stdout: int) -> AsyncGenerator[bytes, None]:
    """What is printed, as it comes, until everybody has closed it. Closes the descriptor."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), io.FileIO(stdout, "rb")
    )
    try:
        while chunk := await reader.read(1 << 16):
            yield chunk
    finally:
        transport.close()


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and its group, which may have ended in the meantime."""
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
