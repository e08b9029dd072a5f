"""Replica processes: start, ready line, watch, drain, stop. Decides neither how many there are nor who gets what."""

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from servers.replica import Replica, Roster
from servers.serve import EXIT_PORT_TAKEN
from servers.settings import ENV_PREFIX

__all__ = ["Fleet", "FleetError", "free_port"]

log = logging.getLogger(__name__)
_MAX_BACKOFF_S = 30.0


class FleetError(RuntimeError):
    """Replicas do not come up; the message says how the last one ended."""


class Fleet:
    """Runs `command --port N` once a replica, each in a process group of its own, with the ports counted up.

    `environment` is for secrets, which a command line would show.

    A replica holds the other end of a pipe on its stdin, so that it stops even if this process is killed.
    """

    def __init__(
        self,
        roster: Roster,
        command: Sequence[str],
        *,
        host: str,
        base_port: int,
        ready_timeout_s: float,
        drain_s: float,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roster = roster
        self._environment = dict(environment or {})
        self._command = list(command)
        self._host = host
        self._base_port = base_port
        self._ready_timeout_s = ready_timeout_s
        self._drain_s = drain_s
        self._clock = clock
        self._lives: dict[Replica, asyncio.Task[None]] = {}
        self._ports: dict[Replica, int] = {}
        self._failures = 0
        self._last_failure = ""
        self._next_start_s = 0.0

    async def start(self, count: int) -> None:
        """Start `count` replicas and wait until they are ready. Raises FleetError after as many failures in a row."""
        self.resize(count)
        while len(self._roster.own("ready")) < count:
            if self._failures >= max(2, count):
                raise FleetError(f"{self._failures} replicas failed to start; the last one: {self._last_failure}")
            self._roster.changed.clear()
            self.resize(count, patient=False)
            await self._roster.changed.wait()

    def resize(self, count: int, *, patient: bool = True) -> bool:
        """Start or drain replicas until `count` are ready or starting. -> whether that was anything to do.

        Replicas that keep dying are started ever more slowly; not `patient` starts them at once all the same.
        """
        alive = self._roster.own("starting", "ready")
        missing = count - len(alive) if not patient or self._clock() >= self._next_start_s else 0
        for _ in range(missing):
            self._begin()
        dispensable = self._roster.own("starting")[::-1] + self._roster.own("ready")[::-1]
        surplus = dispensable[: max(0, len(alive) - count)]
        for replica in surplus:
            replica.stop.set()
            self._roster.move(replica, "draining")
        return missing > 0 or bool(surplus)

    async def stop(self) -> None:
        """Stop every replica, at once and together; return when the last process is gone."""
        for replica in self._lives:
            replica.stop.set()
            self._roster.move(replica, "draining")
        while self._lives:
            await asyncio.wait(self._lives.values())

    def _begin(self) -> None:
        port = free_port(self._host, self._base_port, taken=self._ports.values())
        replica = Replica(f"http://{reachable(self._host)}:{port}")
        self._roster.add(replica)
        self._ports[replica] = port
        life = asyncio.create_task(self._live(replica, port), name=f"replica {port}")
        self._lives[replica] = life
        life.add_done_callback(lambda _: self._lives.pop(replica, None))

    async def _live(self, replica: Replica, port: int) -> None:
        """From start to end of one process; whatever happens, it is stopped, reaped and taken off the roster."""
        stopping = asyncio.create_task(replica.stop.wait())
        process: asyncio.subprocess.Process | None = None
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                *("--port", str(port), "--stop-with-parent"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
                env=_without_settings(os.environ) | self._environment,
            )
            replica.pid = process.pid
            problem = await self._watch(process, replica, stopping)
            if process.returncode == EXIT_PORT_TAKEN:
                log.info("port %d was taken meanwhile; the next replica takes another", port)
            elif problem is not None:
                self._failed(f"replica on port {port} {problem}")
            elif process.returncode is None:
                await _within(replica.idle.wait(), self._drain_s)
        except OSError as error:
            self._failed(f"replica on port {port} could not be started: {error}")
        finally:
            stopping.cancel()
            if process is not None:
                await _end(process, self._drain_s)
            log.info("replica on port %d is gone", port)
            del self._ports[replica]
            self._roster.move(replica, "dead")
            self._roster.remove(replica)

    async def _watch(
        self, process: asyncio.subprocess.Process, replica: Replica, stopping: asyncio.Task[bool]
    ) -> str | None:
        """Wait for ready, then for the end of the process or of its use; what went wrong, None if it was stopped."""
        ready = asyncio.create_task(_ready_line(process))
        await asyncio.wait({ready, stopping}, timeout=self._ready_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if replica.stop.is_set():
            ready.cancel()
            return None
        if not ready.done():
            ready.cancel()
            return f"was not ready after {self._ready_timeout_s:g} s"
        if not ready.result():
            return f"ended with status {await process.wait()} before it was ready; its log says why"
        self._failures = 0
        self._roster.move(replica, "ready")
        log.info("replica %s (pid %d) is ready", replica.name, process.pid)
        ended = asyncio.create_task(_end_of_output(process))
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        return None if replica.stop.is_set() else f"died with status {await process.wait()}"

    def _failed(self, problem: str) -> None:
        log.warning("%s", problem)
        self._failures += 1
        self._last_failure = problem
        pause_s = 0.0 if self._failures == 1 else min(_MAX_BACKOFF_S, 0.5 * 2**self._failures)
        self._next_start_s = self._clock() + pause_s


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment less our variables: a replica's settings are on its command line, all but the secrets."""
    return {name: value for name, value in environment.items() if not name.startswith(ENV_PREFIX)}


async def _ready_line(process: asyncio.subprocess.Process) -> bool:
    """True at the ready line, False at the end of the output."""
    assert process.stdout is not None, "started with a pipe"
    async for line in process.stdout:
        try:
            if json.loads(line).get("ready") is True:
                return True
        except (ValueError, AttributeError):
            continue  # not the line: whatever else it says is not for us
    return False


async def _end_of_output(process: asyncio.subprocess.Process) -> None:
    """Until the process closes its stdout, which its death does."""
    assert process.stdout is not None, "started with a pipe"
    async for _ in process.stdout:
        pass


async def _end(process: asyncio.subprocess.Process, patience_s: float) -> None:
    """SIGTERM, time to finish, SIGKILL; reaped in any case."""
    if process.returncode is None:
        process.terminate()
        if not await _within(process.wait(), patience_s + 1.0):
            log.warning("pid %d did not stop after %g s: killed", process.pid, patience_s + 1.0)
            process.kill()
    await process.wait()


async def _within(waiting: Awaitable[object], limit_s: float) -> bool:
    """Whether it came to its end in time."""
    try:
        await asyncio.wait_for(waiting, limit_s)
    except TimeoutError:
        return False
    return True


def reachable(host: str) -> str:
    """The address under which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104


def free_port(host: str, base_port: int, *, taken: Collection[int] = ()) -> int:
    """The lowest port from `base_port` up that can be listened on and is not `taken`. Raises FleetError."""
    for port in range(base_port, 65_536):
        if port not in taken and _can_listen(host, port):
            return port
    raise FleetError(f"no free port on {host} from {base_port} up")


def _can_listen(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
