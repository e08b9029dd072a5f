"""A service: a server that is started and waited for, with a deadline, or one that was started elsewhere."""

import asyncio
import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import psutil

from ragbench.files.whole_file import write_new
from ragbench.processes.child import GRACE_S, HURRIED_GRACE_S, REAP_S, Child, ChildError

_WANTED = '{"ready": true, "port": 8000, "pid": 1}'
_HERE = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104  compared with, not bound to


class Service(Protocol):
    """A service. By default one that was started elsewhere: little is known of it, and it is not stopped."""

    url: str

    @property
    def pid(self) -> int | None:
        """Its process; None where that is on another machine or cannot be seen from here."""
        return listener(self.url)

    def failure(self) -> str | None:
        """Why it no longer runs, in one line; None while it does, or where that is not known."""
        return None

    async def ended(self) -> None:
        """Return when it is known that it no longer runs."""
        await asyncio.get_running_loop().create_future()

    def new_log(self) -> str:
        """What it printed since the last call, as far as it is known."""
        return ""

    def log_end(self) -> str:
        """The last lines it printed, or where they are, as the end of a message."""
        return "its log is where it was started"

    async def stop(self, *, grace_s: float = GRACE_S) -> Sequence[str]:
        """Stop all of it. -> lines for the user, such as on a process that could not be ended."""
        return ()


class Remote(Service):
    """A service that was started elsewhere."""

    def __init__(self, url: str) -> None:
        self.url = url


class Server(Child):
    """A server that this process started. Made by `start`."""

    def __init__(self, argv: Sequence[str], *, log: Path) -> None:
        super().__init__("the server", argv, log=log, on_line=self._look_for_address, logs_stdout=True)
        self.url = ""
        self._address: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait_ready(self, timeout_s: float) -> None:
        """Return when the ready line has come. Raises ChildError where it does not, or the server ends first."""
        either: set[asyncio.Future[Any]] = {self._address, self._exit}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self._address.done():
            self.url = f"http://{self._address.result()}"
            self.look()
            return
        if self._exit.done():
            await self.read_all(REAP_S)
            raise ChildError(f"{self.failure()} before its ready line: {self.command}", log_end=self.log_end())
        reason = f"no ready line within {timeout_s:g} s (ready_timeout_s) from: {self.command}"
        raise ChildError(f"{reason}; wanted on stdout, flushed: {_WANTED}", log_end=self.log_end())

    def _look_for_address(self, line: bytes) -> None:
        if not self._address.done() and (address := ready_address(line)) is not None:
            self._address.set_result(address)


def ready_address(line: bytes) -> str | None:
    """Host and port in a ready line `{"ready": true, "port": 40213, "pid": 977}`; None for any other line.

    The host is 127.0.0.1 unless the line has an IP address under `host`; `::1` becomes `[::1]`.
    """
    try:
        ready = json.loads(line)
        if not isinstance(ready, dict) or ready.get("ready") is not True:
            return None
        port, ip = ready.get("port"), ipaddress.ip_address(str(ready.get("host", "127.0.0.1")))
    except (ValueError, RecursionError):
        return None
    if type(port) is not int or not 0 < port < 65536:
        return None
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def listener(url: str) -> int | None:
    """The process that listens at `url`, whose CPU counts as the server's; None where it cannot be seen from here."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    if parts.hostname not in _HERE:
        return None
    try:
        sockets = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):  # some systems show them to root alone
        return None
    listening = (s for s in sockets if s.status == psutil.CONN_LISTEN and s.laddr and s.laddr.port == port)
    # Workers share their parent's socket, and it was there first.
    return min((s.pid for s in listening if s.pid is not None), default=None)


async def start(argv: Sequence[str], *, log: Path, ready_timeout_s: float) -> Server:
    """Start `argv` in the current directory and environment, and wait for its ready line.

    stdout and stderr go to `log`. Raises ChildError; by then nothing of the server is left. Call it on the main
    thread: the kernel ties the server's life to the thread that started it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    write_new(log)
    server = Server(argv, log=log)
    await server.start()
    try:
        await server.wait_ready(ready_timeout_s)
    except BaseException:
        await server.stop(grace_s=HURRIED_GRACE_S)
        raise
    return server
