"""Start a server in its own session, read its ready line under a deadline, keep its log, stop it whole.

Which server, and what is asked of it, is decided in sweep.py.
"""

import asyncio
import ipaddress
import json
import shlex
import shutil
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Protocol

from ragbench.files.whole_file import write_new
from ragbench.processes.family import family, kill, mark_of_its_own, marked, still_running, told
from ragbench.processes.log_file import read_log
from ragbench.processes.spawn import chunks, signal_group, spawn

GRACE_S = 12.0  # servers drain within 10 s
HURRIED_GRACE_S = 2.0  # SLURM kills 5 s after SIGTERM
_REAP_S = 2.0
_TAIL_LINES, _TAIL_BYTES = 12, 4000
_LONGEST_LINE = 1 << 20


class LaunchError(RuntimeError):
    """A server did not come up. `reason` is one line; the message adds how the server's log ends."""

    def __init__(self, reason: str, *, log_end: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}; {log_end}" if log_end else reason)


class Service(Protocol):
    """What a load needs to know of a server, whoever started it."""

    url: str

    def failure(self) -> str | None:
        """Why it no longer runs, in one line; None while it does."""

    async def ended(self) -> None:
        """Return when it no longer runs."""

    def new_log(self) -> str:
        """What it printed since the last call."""

    def log_end(self) -> str:
        """The last lines it printed, as the end of a message."""

    async def stop(self, *, grace_s: float = GRACE_S) -> Sequence[str]:
        """Stop all of it; a line for each thing that its user should know, such as what could not be ended."""


class Remote:
    """A service that somebody else runs: nothing is started or stopped."""

    def __init__(self, url: str) -> None:
        self.url = url

    def failure(self) -> str | None:
        """Not known from here."""
        return None

    async def ended(self) -> None:
        """Never returns: whether it runs is not known from here."""
        await asyncio.get_running_loop().create_future()

    def new_log(self) -> str:
        """Its log is not here."""
        return ""

    def log_end(self) -> str:
        """Its log is not here."""
        return "its log is where it was started"

    async def stop(self, *, grace_s: float = GRACE_S) -> Sequence[str]:
        """Nothing to do."""
        return ()


class Server:
    """A server that this process started, with everything it started in turn. Made by `start`."""

    def __init__(self, process: Process, command: str, *, stdout: int, log: Path, mark: Mapping[str, str]) -> None:
        self.url = ""
        self.command = command
        self._process = process
        self._log = log
        self._log_offset = 0
        self._mark = mark
        self._members = family(process.pid)
        self._address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._exit = asyncio.create_task(process.wait(), name="exit of the server")
        self._drain = asyncio.create_task(self._keep_stdout(stdout), name="stdout of the server")

    @property
    def pid(self) -> int:
        """The process that was started; also the id of its session."""
        return self._process.pid

    def failure(self) -> str | None:
        """How it ended, or None while it runs."""
        code = self._process.returncode
        if code is None:
            return None
        how = f"exited with code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        return f"the server {how}"

    async def ended(self) -> None:
        """Return when the started process has ended."""
        await asyncio.wait({self._exit})

    async def wait_ready(self, timeout_s: float) -> None:
        """Return when the ready line has come. Raises LaunchError where it does not, or the server ends first."""
        either: set[asyncio.Future[Any]] = {self._address, self._exit}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self._address.done():
            self.url = f"http://{self._address.result()}"
            self._members |= family(self.pid)
            return
        if self._exit.done():
            await asyncio.wait({self._drain}, timeout=_REAP_S)
            raise LaunchError(f"{self.failure()} before its ready line: {self.command}", log_end=self.log_end())
        raise LaunchError(
            f"no ready line within {timeout_s:g} s (ready_timeout_s) from: {self.command}; wanted on stdout, flushed: "
            f'{{"ready": true, "port": 8000, "pid": 1}}',
            log_end=self.log_end(),
        )

    def new_log(self) -> str:
        """What it printed since the last call; of more than MOST_LOG bytes the end."""
        self._members |= family(self.pid)
        new, self._log_offset = read_log(self._log, since=self._log_offset)
        return new

    def log_end(self) -> str:
        """The last lines of its log, as the end of a message."""
        lines = read_log(self._log, most=_TAIL_BYTES)[0].strip().splitlines()
        return "its log ends:\n    " + "\n    ".join(lines[-_TAIL_LINES:]) if lines else "its log is empty"

    async def stop(self, *, grace_s: float = GRACE_S) -> Sequence[str]:
        """SIGTERM to the group, `grace_s` to end, then SIGKILL to whatever is left, reaped and checked to be gone.

        What left the group and lost its parents, as a daemon does, is killed too, and told of.
        Cancelled while it waits, it kills at once; in a task that was cancelled before, it hurries.
        """
        self._members |= family(self.pid)
        try:
            await self._ask_to_end(hurried(grace_s))
        finally:
            self._members |= family(self.pid)
            left_behind = marked(self._mark) - self._members
            names = told(left_behind)
            self._members |= left_behind
            if not self._exit.done():
                signal_group(self.pid, signal.SIGKILL)
            kill(self._members)
        await asyncio.wait({self._exit}, timeout=_REAP_S)
        await self._all_gone(_REAP_S)
        self._drain.cancel()
        await asyncio.wait({self._drain})
        still = still_running(self._members)
        return [
            *([f"the server left processes behind that were no longer below it; ended: {names}"] if names else []),
            *([f"processes of the server could not be ended: {told(still)}"] if still else []),
        ]

    async def _ask_to_end(self, grace_s: float) -> None:
        deadline_s = asyncio.get_running_loop().time() + grace_s
        if not self._exit.done():
            signal_group(self.pid, signal.SIGTERM)
            await asyncio.wait({self._exit}, timeout=grace_s)
            await self._all_gone(deadline_s - asyncio.get_running_loop().time())

    async def _all_gone(self, timeout_s: float) -> None:
        """Wait until no member runs. Looks again and again: nobody reports the end of a grandchild."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while still_running(self._members) and asyncio.get_running_loop().time() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def _keep_stdout(self, stdout: int) -> None:
        """Append stdout to the log, which stderr goes to by itself, and pick the ready line out of it.

        What no longer fits on the disk is not kept; a server that is read no more would stand still.
        """
        pending = b""
        async with aclosing(chunks(stdout)) as printed:
            with self._log.open("ab", buffering=0) as log:
                async for chunk in printed:
                    with suppress(OSError):
                        log.write(chunk)
                    if not self._address.done():
                        *lines, pending = (pending + chunk).split(b"\n")
                        pending = pending[-_LONGEST_LINE:]
                        self._look_for_address(lines)

    def _look_for_address(self, lines: Sequence[bytes]) -> None:
        address = next((address for address in map(ready_address, lines) if address is not None), None)
        if address is not None:
            self._address.set_result(address)


def hurried(grace_s: float) -> float:
    """How long to wait for a server's end: no longer than HURRIED_GRACE_S in a task that has been cancelled."""
    task = asyncio.current_task()
    return min(grace_s, HURRIED_GRACE_S) if task is not None and task.cancelling() else grace_s


def ready_address(line: bytes) -> str | None:
    """Host and port in a ready line `{"ready": true, "port": 40213, "pid": 977}`; None for any other line.

    The host is 127.0.0.1 unless the line has an IP address under `host`; `::1` becomes `[::1]`.
    """
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("ready") is not True:
        return None
    port, host = said.get("port"), said.get("host", "127.0.0.1")
    if type(port) is not int or not 0 < port < 65536 or not isinstance(host, str):
        return None
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


async def start(argv: Sequence[str], *, log: Path, ready_timeout_s: float) -> Server:
    """Start `argv` in the current directory and environment, and wait for its ready line.

    stdout and stderr go to `log`. Raises LaunchError; by then nothing of the server is left. Call it on the main
    thread: the kernel ties the server's life to the thread that started it.
    """
    command = shlex.join(argv)
    _empty(log)
    if shutil.which(argv[0]) is None:
        raise LaunchError(f"cannot start: {command}: there is no command {argv[0]!r} here or on PATH")
    mark = mark_of_its_own()
    process, stdout = await spawn(argv, log=log, mark=mark)
    server = Server(process, command, stdout=stdout, log=log, mark=mark)
    try:
        await server.wait_ready(ready_timeout_s)
    except BaseException:
        await server.stop(grace_s=HURRIED_GRACE_S)
        raise
    return server


def _empty(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    write_new(log)
