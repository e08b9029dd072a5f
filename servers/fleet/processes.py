"""Replica processes: start, ready line, watch, drain, stop. Decides neither their number nor the routing."""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from servers import exits
from servers.addresses import Address, NoPort, free_port, reachable
from servers.fleet.child import end, end_of_output, is_ready_line_said, status_of
from servers.fleet.placement import VISIBLE, least_used
from servers.fleet.replica import Replica, Roster
from servers.settings import ENV_PREFIX
from servers.tasks import Background, unless, within
from servers.telemetry import metrics

log = logging.getLogger(__name__)
_MAX_BACKOFF_S = 30.0
_SHORT_LIFE_S = 2.0  # a replica that dies within this time after it was ready has failed to start
_SHORT_HANG_S = 30.0  # the same for a hang, which takes longer to be seen


class FleetError(RuntimeError):
    """Replicas fail to start; the message says how the last one ended."""


@dataclass(frozen=True, slots=True)
class Start:
    """How replicas are started: `command --port N`, on free ports from `base_port`.

    `gpus` are shared among them. `environment` is added to theirs, for secrets. With `log_dir` each has its own log.
    `first` are further arguments of the first replica. A replica that is drained gets `longest_s`, in which any request
    ends, or at the end of the fleet `drain_s`.
    """

    command: Sequence[str]
    host: str
    base_port: int
    ready_timeout_s: float
    drain_s: float
    gpus: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    log_dir: Path | None = None
    first: Sequence[str] = ()
    longest_s: float = 60.0


class ReplicaProcesses:
    """Keeps replicas running, each in a process group of its own.

    Its stdin is a pipe from this process, so that it stops even if this process is killed.
    """

    def __init__(self, roster: Roster, start: Start, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.starts: deque[tuple[float, float]] = deque(maxlen=256)  # when a replica got ready, and how long it took
        self._roster = roster
        self._start = start
        self._clock = clock
        self._background: Background | None = None
        self._stopping = asyncio.Event()
        self._lives: dict[Replica, asyncio.Task[None]] = {}
        self._started = 0
        self._failures = 0
        self._last_failure = ""
        self._next_start_s = 0.0

    def open(self, background: Background) -> None:
        """Let `background` own the replicas' tasks. Comes first."""
        self._background = background

    async def start(self, count: int) -> None:
        """Start `count` replicas and wait until they are ready. Raises FleetError after that many failures."""
        self.resize(count)
        while len(self._roster.own("ready")) < count:
            if self._failures >= max(2, count):
                raise FleetError(f"{self._failures} replicas failed to start; the last one: {self._last_failure}")
            self._roster.changed.clear()
            self.resize(count, patient=False)
            await self._roster.changed.wait()

    def resize(self, count: int, *, patient: bool = True) -> bool:
        """Start or drain replicas until `count` are ready or starting. -> whether that changes anything.

        With `patient`, failed starts are followed by growing pauses.
        """
        alive = self._roster.own("starting", "ready")
        missing = count - len(alive) if not patient or self._clock() >= self._next_start_s else 0
        for _ in range(missing):
            self._add()
        dispensable = self._roster.own("starting")[::-1] + self._roster.own("ready")[::-1]
        surplus = dispensable[: max(0, len(alive) - count)]
        for replica in surplus:
            replica.stop.set()
            self._roster.move(replica, "drain")
        return missing > 0 or bool(surplus)

    async def stop(self) -> None:
        """Stop all replicas concurrently; return when the last process is gone."""
        self._stopping.set()
        for replica in self._lives:
            replica.stop.set()
            if replica.state != "dead":
                self._roster.move(replica, "drain")
        while self._lives:
            await asyncio.wait(self._lives.values())

    def _add(self) -> None:
        taken = [replica.port for replica in self._lives]
        try:
            port = free_port(self._start.host, self._start.base_port, taken=taken)
        except NoPort as error:
            raise FleetError(str(error)) from error
        gpu = least_used(self._start.gpus, (replica.gpu for replica in self._lives))
        replica = Replica(str(Address(reachable(self._start.host), port)), gpu=gpu)
        self._roster.add(replica)
        further = self._start.first if self._started == 0 else ()
        self._started += 1
        assert self._background is not None, "open() comes first"
        life = self._background.start(self._live(replica, further), name=f"replica {port}")
        self._lives[replica] = life
        life.add_done_callback(lambda _: self._lives.pop(replica, None))

    async def _live(self, replica: Replica, further: Sequence[str]) -> None:
        """The life of one process, which in any case is stopped, reaped and taken off the roster."""
        process: asyncio.subprocess.Process | None = None
        how, problem = "stopped", None
        try:
            process = await self._spawn(replica, further)
            how, problem = await self._watch(process, replica)
            if problem is None and replica.fault is None:
                await self._drained(replica)
        except OSError as error:
            how, problem = "not_started", f"could not be started: {error}"
        except Exception:
            how, problem = "error", "could not be watched; the log says why"
            log.exception("the replica on port %d cannot be watched any more", replica.port)
        finally:
            if problem is not None:
                self._failed(f"replica on port {replica.port} {problem}")
            replica.is_ending = True
            if process is not None:
                await end(process, 0.0 if replica.fault else self._start.drain_s)
            metrics.REPLICA_ENDS.labels(replica.fault or how).inc()
            log.info("replica on port %d is gone (%s)", replica.port, replica.fault or how)
            self._roster.move(replica, "end")
            self._roster.remove(replica)

    async def _spawn(self, replica: Replica, further: Sequence[str]) -> asyncio.subprocess.Process:
        with _log(self._start.log_dir, replica.port) as output:
            process = await asyncio.create_subprocess_exec(
                *self._start.command,
                *further,
                *("--port", str(replica.port), "--stop-with-parent"),
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

    async def _drained(self, replica: Replica) -> None:
        """Wait until it has answered its requests, its time is over, or it hangs."""
        await within(unless(self._stopping, unless(replica.gone, replica.finished())), self._start.longest_s)
        if self._stopping.is_set():
            await within(replica.finished(), self._start.drain_s)

    async def _watch(self, process: asyncio.subprocess.Process, replica: Replica) -> tuple[str, str | None]:
        """Wait until it is ready, then until it ends or is stopped. -> how it ended, and the problem, if any.

        A replica that served for a while and dies is no problem: it is replaced at once.
        """
        begun_s = self._clock()
        limit_s = self._start.ready_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                is_ready = await unless(replica.stop, is_ready_line_said(process))
        except TimeoutError:
            replica.fault = "not_ready"
            return "not_ready", f"was not ready after {limit_s:g} s"
        if is_ready is None:
            return "stopped", None
        if not is_ready:
            status = await status_of(process)
            if status != exits.PORT_TAKEN:
                return "not_started", f"ended with status {status} before it was ready; its log says why"
            log.info("port %d was taken meanwhile; the next replica takes another", replica.port)
            return "port_taken", None
        self._is_ready(replica, begun_s)
        return await self._watch_ready(process, replica)

    async def _watch_ready(self, process: asyncio.subprocess.Process, replica: Replica) -> tuple[str, str | None]:
        ready_s = self._clock()
        await unless(replica.stop, end_of_output(process))
        lived_s = self._clock() - ready_s
        is_short = lived_s < (_SHORT_LIFE_S if replica.fault is None else _SHORT_HANG_S)
        if not is_short:
            self._failures = 0
        if replica.stop.is_set():
            is_loop = is_short and replica.fault is not None
            return "stopped", f"{replica.fault} {lived_s:.0f} s after it was ready" if is_loop else None
        self._roster.move(replica, "end")
        status = await status_of(process)
        how, problem = "died", f"died with status {status}"
        if status == exits.ENGINE_ENDED:
            how, problem = "engine_ended", "ended because its engine did; its log says why"
        if is_short:
            return how, f"{problem} soon after it was ready"
        log.warning("replica %s %s", replica.name, problem)
        return how, None

    def _is_ready(self, replica: Replica, begun_s: float) -> None:
        now = self._clock()
        self.starts.append((now, now - begun_s))
        metrics.REPLICA_START_SECONDS.observe(now - begun_s)
        replica.health.since_s = now
        self._roster.move(replica, "get_ready")
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
    """The environment without RAG_ variables: a replica gets its settings by its command line."""
    return {name: value for name, value in environment.items() if not name.startswith(ENV_PREFIX)}


def _log(folder: Path | None, port: int) -> AbstractContextManager[IO[bytes] | None]:
    """The log file of a replica; None without a folder or if it cannot be opened."""
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return (folder / f"replica-{port}.log").open("ab")
        except OSError as error:
            log.warning("no log of its own for the replica on port %d: %s", port, error)
    return nullcontext()
