"""A child process: ended with this one, read by lines, waited for with a deadline, stopped with all that it started."""

import asyncio
import io
import os
import shlex
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from ragbench.processes import tether
from ragbench.processes.family import family, kill, mark_of_its_own, marked, names, still_running
from ragbench.processes.log_file import read_log

GRACE_S = 12.0  # servers drain within 10 s
HURRIED_GRACE_S = 2.0  # SLURM kills 5 s after SIGTERM
REAP_S = 2.0
_TAIL_LINES, _TAIL_BYTES = 12, 4000
_LONGEST_LINE = 1 << 24


class ChildError(RuntimeError):
    """A child could not be started, ended badly or took too long.

    `reason` is one line; the message adds how the log ends.
    """

    def __init__(self, reason: str, *, log_end: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}; {log_end}" if log_end else reason)


class Child:
    """One command, with everything that it starts in turn: `async with Child(...)`, or `start` and `stop`.

    It runs in the current directory and in a session of its own, so that Ctrl-C on the terminal does not reach it; at
    the death of this process it gets SIGTERM (Linux). Its stderr is appended to `log`, with `logs_stdout` its stdout
    too. `name` begins messages. `on_line` gets each line of stdout that is not empty; its errors end the child.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        on_line: Callable[[bytes], None] = lambda line: None,
        logs_stdout: bool = False,
        has_stdin: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = shlex.join(argv)
        self._argv = argv
        self._log = log
        self._on_line = on_line
        self._logs_stdout = logs_stdout
        self._stdin = PIPE if has_stdin else DEVNULL
        self._mark = mark_of_its_own()
        self._env = {**(env or {}), **self._mark}
        self._process: Process
        self._exit: asyncio.Task[int]
        self._reading: asyncio.Task[None]
        self._seen: set[psutil.Process] = set()
        self._log_begin = self._log_read = 0

    async def start(self) -> None:
        """Run it. Raises ChildError where there is no such command. Call it on the main thread, to which it is tied."""
        with self._log.open("ab") as log:
            self._log_begin = self._log_read = log.tell()
            if shutil.which(self._argv[0]) is None:
                raise ChildError(f"cannot start: {self.command}: there is no command {self._argv[0]!r} here or on PATH")
            # asyncio's own pipe would report the end of the process only when its last child has closed it too.
            stdout, child_stdout = os.pipe()
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", str(tether.__file__), str(os.getpid()), *self._argv),
                    stdin=self._stdin,
                    stdout=child_stdout,
                    stderr=log,
                    start_new_session=True,
                    env=os.environ | self._env,
                )
            except BaseException:
                os.close(stdout)
                raise
            finally:
                os.close(child_stdout)
        self._exit = asyncio.create_task(self._process.wait(), name=f"exit of {self.name}")
        self._reading = asyncio.create_task(self._read(stdout), name=f"stdout of {self.name}")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Give it time to end; kill what it started."""
        try:
            if not self._exit.done():
                await self.ask_to_end(HURRIED_GRACE_S)
        finally:
            await self.stop(grace_s=0.0)

    @property
    def pid(self) -> int:
        """The process that was started; also the id of its session."""
        return self._process.pid

    @property
    def members(self) -> set[psutil.Process]:
        """Its running processes."""
        self.look()
        return still_running(self._seen)

    def look(self) -> None:
        """Remember its running processes: a grandchild that outlives its parent is found in no other way."""
        self._seen |= family(self.pid)

    def failure(self) -> str | None:
        """How it ended, or None while it runs."""
        code = self._process.returncode
        if code is None:
            return None
        how = f"exited with code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        return f"{self.name} {how}"

    async def ended(self) -> None:
        """Return when the started process has ended."""
        await asyncio.wait({self._exit})

    async def done(self, timeout_s: float, *, limit: str) -> None:
        """Return when it has ended with code 0. Raises ChildError on another, or after `timeout_s` (`limit`)."""
        await asyncio.wait({self._exit}, timeout=timeout_s)
        if not self._exit.done():
            raise ChildError(f"{self.name} was not done after {timeout_s:g} s ({limit})", log_end=self.log_end())
        if self._process.returncode != 0:
            raise ChildError(str(self.failure()), log_end=self.log_end())

    def write(self, line: bytes) -> None:
        """Write to its stdin, where it still has one."""
        assert self._process.stdin is not None, "has_stdin"
        if not self._process.stdin.is_closing():
            self._process.stdin.write(line)

    def new_log(self) -> str:
        """Its log since the last call; of more than MOST_LOG bytes the end."""
        self.look()
        new, self._log_read = read_log(self._log, since=self._log_read)
        return new

    def log_end(self) -> str:
        """The last lines of its log, as the end of a message."""
        lines = self._last_lines()
        return "its log ends:\n    " + "\n    ".join(lines[-_TAIL_LINES:]) if lines else "its log is empty"

    def last_line(self) -> str:
        """The last line that it logged; empty where it logged none."""
        return next(reversed(self._last_lines()), "").strip()

    def kill(self) -> None:
        """SIGKILL to its group, where it still runs."""
        if not self._exit.done():
            self._signal(signal.SIGKILL)

    async def read_all(self, timeout_s: float | None = None) -> None:
        """Return when its stdout is read to the end, which others may keep open. Raises the error of `on_line`."""
        await asyncio.wait({self._reading}, timeout=timeout_s)
        if self._reading.done() and not self._reading.cancelled():
            self._reading.result()

    async def stop(self, *, grace_s: float = GRACE_S) -> Sequence[str]:
        """SIGTERM to the group, `grace_s` to end, then SIGKILL to the rest, daemons included. -> lines on strays.

        Cancelled while it waits, it kills at once; in a task that was cancelled before, it hurries.
        """
        clock = asyncio.get_running_loop().time
        until_s = clock() + _hurried(grace_s)
        self.look()
        try:
            if not self._exit.done():
                await self.ask_to_end(grace_s)
                await self.all_gone(until_s - clock())
        finally:
            self.look()
            strays = marked(self._mark) - self._seen
            stray_names = names(strays)
            self._seen |= strays
            self.kill()
            kill(self._seen)
        await asyncio.wait({self._exit}, timeout=REAP_S)
        await self.all_gone(REAP_S)
        await asyncio.wait({self._reading}, timeout=REAP_S)
        self._reading.cancel()
        await self.read_all()
        left = names(still_running(self._seen))
        ended = stray_names and f"{self.name} left processes behind that were no longer below it; ended: {stray_names}"
        return list(filter(None, [ended, left and f"processes of {self.name} could not be ended: {left}"]))

    async def ask_to_end(self, grace_s: float) -> None:
        """SIGTERM to its group, and time for the started process to end."""
        self._signal(signal.SIGTERM)
        await asyncio.wait({self._exit}, timeout=_hurried(grace_s))

    async def all_gone(self, timeout_s: float) -> None:
        """Wait until no known process of it runs. It polls, as the end of a grandchild is not reported."""
        until_s = asyncio.get_running_loop().time() + timeout_s
        while still_running(self._seen) and asyncio.get_running_loop().time() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _last_lines(self) -> list[str]:
        return read_log(self._log, since=self._log_begin, most=_TAIL_BYTES)[0].strip().splitlines()

    async def _read(self, stdout: int) -> None:
        """Read to the end, as a child blocks when nobody reads; of an endless line the end is kept."""
        begun, reader = bytearray(), asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), io.FileIO(stdout, "rb")
        )
        try:
            with self._log.open("ab", buffering=0) as log:
                while chunk := await reader.read(1 << 16):
                    if self._logs_stdout:
                        with suppress(OSError):  # what no longer fits on the disk is not kept
                            log.write(chunk)
                    *lines, rest = chunk.split(b"\n")
                    if lines:
                        lines[0] = bytes(begun) + lines[0]
                        begun.clear()
                    begun += rest
                    del begun[:-_LONGEST_LINE]
                    for line in filter(None, lines):
                        self._on_line(line)
            if begun:
                self._on_line(bytes(begun))
        except Exception:
            self.kill()
            raise
        finally:
            transport.close()


def _hurried(grace_s: float) -> float:
    """How long to wait for a child's end: no longer than HURRIED_GRACE_S in a task that has been cancelled."""
    task = asyncio.current_task()
    return min(grace_s, HURRIED_GRACE_S) if task is not None and task.cancelling() else grace_s
