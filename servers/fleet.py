"""Replica processes: start, ready line, watch, drain, stop. Decides neither how many there are nor who gets what."""

import asyncio
import json
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from servers import metrics
from servers.gpus import VISIBLE, least_used
from servers.replica import Replica, Roster
from servers.serve import EXIT_PORT_TAKEN
from servers.settings import ENV_PREFIX

__all__ = ["Fleet", "FleetError", "Start", "free_port"]

log = logging.getLogger(__name__)
_MAX_BACKOFF_S = 30.0
_UNREADY = "before it was ready; its log says why"
_SHORT_LIFE_S = 2.0  # a crash loop, rather than a crash


class FleetError(RuntimeError):
    """Replicas do not come up; the message says how the last one ended."""


@dataclass(frozen=True, slots=True)
class Start:
    """How replicas are started: `command --port N`, on the free ports from `base_port` up.

    `gpus` are shared out among them; `environment` is added to theirs; with `log_dir` each has its own log there;
    `first` are further arguments of the first one.
    """

    command: Sequence[str]
    host: str
    base_port: int
    ready_timeout_s: float
    drain_s: float
    gpus: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    log_dir: Path | None = None
    first: Sequence[str] = ()


class Fleet:
    """Keeps replicas running, each in a process group of its own.

    A replica holds the other end of a pipe on its stdin, so that it stops even if this process is killed.
    """

    def __init__(self, roster: Roster, start: Start, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.starts: deque[tuple[float, float]] = deque(maxlen=256)  # when one got ready, and how long it took
        self._roster = roster
        self._start = start
        self._clock = clock
        self._lives: dict[Replica, asyncio.Task[None]] = {}
        self._ports: dict[Replica, int] = {}
        self._begun = 0
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
        port = free_port(self._start.host, self._start.base_port, taken=self._ports.values())
        gpu = least_used(self._start.gpus, (replica.gpu for replica in self._ports))
        replica = Replica(f"http://{reachable(self._start.host)}:{port}", gpu=gpu)
        self._roster.add(replica)
        self._ports[replica] = port
        further = self._start.first if self._begun == 0 else ()
        self._begun += 1
        life = asyncio.create_task(self._live(replica, port, further), name=f"replica {port}")
        self._lives[replica] = life
        life.add_done_callback(lambda _: self._lives.pop(replica, None))

    async def _live(self, replica: Replica, port: int, further: Sequence[str]) -> None:
        """From start to end of one process; whatever happens, it is stopped, reaped and taken off the roster."""
        stopping = asyncio.create_task(replica.stop.wait())
        process: asyncio.subprocess.Process | None = None
        end = "stopped"
        try:
            process = await self._spawn(replica, port, further)
            end, problem = await self._watch(process, replica, stopping)
            if end == "port_taken":
                log.info("port %d was taken meanwhile; the next replica takes another", port)
            elif problem is not None:
                self._failed(f"replica on port {port} {problem}")
            elif replica.fault is None:
                await _within(replica.idle.wait(), self._start.drain_s)
        except OSError as error:
            end = "not_started"
            self._failed(f"replica on port {port} could not be started: {error}")
        finally:
            stopping.cancel()
            if process is not None:
                await _end(process, 0.0 if replica.fault else self._start.drain_s)
            metrics.REPLICA_ENDS.labels(replica.fault or end).inc()
            log.info("replica on port %d is gone (%s)", port, replica.fault or end)
            del self._ports[replica]
            self._roster.move(replica, "dead")
            self._roster.remove(replica)

    async def _spawn(self, replica: Replica, port: int, further: Sequence[str]) -> asyncio.subprocess.Process:
        with _log(self._start.log_dir, port) as output:
            process = await asyncio.create_subprocess_exec(
                *self._start.command,
                *further,
                *("--port", str(port), "--stop-with-parent"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                start_new_session=True,
                env={
                    **_without_settings(os.environ),
                    **self._start.environment,
                    **({} if replica.gpu is None else {VISIBLE: replica.gpu}),
                },
            )
        replica.pid = process.pid
        return process

    async def _watch(
        self, process: asyncio.subprocess.Process, replica: Replica, stopping: asyncio.Task[bool]
    ) -> tuple[str, str | None]:
        """Wait for ready, then for the end of the process or of its use. -> how it ended, and what is wrong with that.

        One that served for a while and dies is replaced at once; one that does not last is a failure to start.
        """
        begun_s = self._clock()
        limit_s = self._start.ready_timeout_s
        ready = asyncio.create_task(_ready_line(process))
        await asyncio.wait({ready, stopping}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            if replica.stop.is_set():
                return "stopped", None
            replica.fault = "not_ready"
            return "not_ready", f"was not ready after {limit_s:g} s"
        if not ready.result():
            status = await process.wait()
            is_taken = status == EXIT_PORT_TAKEN
            return ("port_taken", None) if is_taken else ("not_started", f"ended with status {status} {_UNREADY}")
        self._is_ready(replica, begun_s)
        ended = asyncio.create_task(_end_of_output(process))
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        lived_s = self._clock() - (replica.health.since_s or 0.0)
        if lived_s >= _SHORT_LIFE_S:
            self._failures = 0
        if replica.stop.is_set():
            return "stopped", None
        self._roster.move(replica, "dead")
        problem = f"died with status {await process.wait()}"
        if lived_s < _SHORT_LIFE_S:
            return "died", f"{problem} soon after it was ready"
        log.warning("replica %s %s", replica.name, problem)
        return "died", None

    def _is_ready(self, replica: Replica, begun_s: float) -> None:
        now = self._clock()
        self.starts.append((now, now - begun_s))
        metrics.REPLICA_START_SECONDS.observe(now - begun_s)
        replica.health.since_s = now
        self._roster.move(replica, "draining" if replica.stop.is_set() else "ready")
        log.info("replica %s (pid %s) is ready", replica.name, replica.pid)

    def _failed(self, problem: str) -> None:
        log.warning("%s", problem)
        self._failures += 1
        self._last_failure = problem
        pause_s = 0.0 if self._failures == 1 else min(_MAX_BACKOFF_S, 0.25 * 2**self._failures)
        self._next_start_s = self._clock() + pause_s
        if pause_s:
            log.warning("%d starts in a row have failed: the next one in %g s", self._failures, pause_s)


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment less our variables: a replica's settings are on its command line, all of them."""
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
    """SIGTERM, time to finish, SIGKILL to its whole group; without patience at once. Reaped in any case."""
    if process.returncode is None and patience_s > 0:
        process.terminate()
        if not await _within(process.wait(), patience_s + 1.0):
            log.warning("pid %d did not stop after %g s: killed", process.pid, patience_s + 1.0)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


@contextmanager
def _log(folder: Path | None, port: int) -> Iterator[IO[bytes] | None]:
    """Where the replica on that port writes its log; None, with ours, where there is no place for it."""
    if folder is None:
        yield None
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / f"replica-{port}.log").open("ab")
    except OSError as error:
        log.warning("no log of its own for the replica on port %d: %s", port, error)
        yield None
        return
    with file:
        yield file


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
