"""The faults, injected by pid or port: one function a fault. When, and under which load, is in scenarios.py.

A fault that does not return is cancelled at the end of the load. Signals: Linux and macOS.
"""

import asyncio
import itertools
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

import aiohttp
import psutil

from ragbench.chaos.experiment import Experiment, NoReplica
from ragbench.chaos.fleet import Replica
from ragbench.processes.launch import start

Fault = Callable[[Experiment], Awaitable[None]]

SHORT_TIMEOUT = {"X-Request-Timeout-S": "1"}
POISON = "poison"
_READY_TIMEOUT_S = 60.0
_ENGINE = "servers.engine.process"
_ORDERED = "a fault to order"
_ORDERED_S = 30.0
_POLL_S = 0.2
_POISONED = 100
_RELOAD_S = 10.0
_READY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"

MALFORMED: dict[str, Callable[[], bytes]] = {
    "random bytes": lambda: os.urandom(200),
    "half a head": lambda: b"HTTP/1.1 200 OK\r\nContent-Ty",
    "no JSON": lambda: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot JSON!",
    "truncated": lambda: b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"query": "',
    "500": lambda: b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}


async def signal_a_replica(experiment: Experiment, *, number: signal.Signals, state: str = "ready") -> None:
    """Send a signal to a replica. After SIGSTOP its port still takes connections, and nothing answers."""
    replica = await experiment.random_replica(state)
    assert replica.pid is not None, "random_replica returns only replicas that the fleet started"
    os.kill(replica.pid, number)


kill_a_replica = partial(signal_a_replica, number=signal.SIGKILL)
stop_a_replica = partial(signal_a_replica, number=signal.SIGSTOP)


async def stop_the_replacement(experiment: Experiment) -> None:
    """SIGKILL a replica, and SIGSTOP the next one while it starts, so that it is never ready."""
    await kill_a_replica(experiment)
    await stop_a_replica(experiment, state="starting")


async def kill_a_worker(experiment: Experiment, *, mark: str) -> None:
    """SIGKILL a process of the fleet with `mark` in its command line. Raises OSError where there is none."""
    workers = [process for process in experiment.fleet.server.members if mark in " ".join(process.cmdline())]
    if not workers:
        raise ProcessLookupError(f"no process of the server has {mark!r} in its command line")
    workers.sort(key=lambda process: process.pid)
    workers[int(experiment.rng.integers(len(workers)))].kill()


async def stop_an_engine(experiment: Experiment) -> None:
    """SIGSTOP the engine process of a replica; its HTTP process goes on answering."""
    victim = await experiment.random_replica()
    engines = [child for child in psutil.Process(victim.pid).children() if _ENGINE in child.cmdline()]
    if not engines:
        raise ProcessLookupError(f"replica {victim.url} has no process of its own for its models (--engine process)")
    engines[0].suspend()
    experiment.count_recovery_from()
    await experiment.watch_replaced(victim)


async def await_ordered_fault(experiment: Experiment) -> None:
    """Wait until the log reports the fault that the flags order from the first replica."""
    ready = await experiment.fleet.replicas("ready")
    if not ready:
        raise NoReplica("no replica was ready when the fault was due")
    log = experiment.folder / "server.log"
    async with asyncio.timeout(_ORDERED_S):
        while _ORDERED not in await asyncio.to_thread(log.read_text, errors="replace"):  # noqa: ASYNC110  a log wakes nobody
            await asyncio.sleep(_POLL_S)
    experiment.count_recovery_from()
    await experiment.watch_replaced(ready[0], ready_before=len(ready))


async def ask_poisoned_questions(experiment: Experiment) -> None:
    """Ask 100 of them, one after another: each must fail alone and end no replica."""
    experiment.count_recovery_from()
    before = {replica.pid for replica in await experiment.fleet.replicas()}
    statuses: Counter[int] = Counter()
    async with aiohttp.ClientSession() as session:
        for number in range(_POISONED):
            async with session.post(
                f"{experiment.fleet.service_url}/rag", json={"query": f"{POISON} {number}"}
            ) as answer:
                statuses[answer.status] += 1
    ended = before - {replica.pid for replica in await experiment.fleet.replicas()}
    experiment.figures |= {"poisoned": _POISONED, "poisoned_500": statuses[500], "replicas_ended": len(ended)}
    if ended or statuses[500] < _POISONED:
        experiment.failures.append(
            f"poisoned questions were answered {dict(statuses)}, and {len(ended)} replicas ended"
        )


async def register_a_malformed_replica(experiment: Experiment) -> None:
    """Register a replica that is ready and answers with malformed bytes."""
    url = await experiment.resources.enter_async_context(malformed_server())
    await experiment.fleet.register(url)
    experiment.count_recovery_from()
    await experiment.watch_replaced(Replica(url, None, "ready", 0), needs_successor=False)


@asynccontextmanager
async def malformed_server() -> AsyncIterator[str]:
    """The URL of a server that is ready and gives the answers of MALFORMED in turn, one a connection."""
    kinds = itertools.cycle(MALFORMED.values())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(next(kinds)() if head.startswith(b"POST /rag") else _READY)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def register_a_slow_replica(experiment: Experiment) -> None:
    """Register a replica that is ten times slower."""
    argv = [*experiment.terms.replica, "--slowdown", "10", "--port", "0"]
    slow = await start(argv, log=experiment.folder / "replica-slow.log", ready_timeout_s=_READY_TIMEOUT_S)
    experiment.resources.push_async_callback(slow.stop)
    experiment.count_recovery_from()  # the fault is its registration
    await experiment.fleet.register(slow.url)


async def restart_the_balancer(experiment: Experiment) -> None:
    """SIGTERM, and the same command on the same port, while the clients go on."""
    await experiment.fleet.restart()


async def reload_the_front(experiment: Experiment) -> None:
    """Reload the proxy in front, which then knows nothing of the fleet. Raises OSError where the command fails."""
    process = await asyncio.create_subprocess_exec(*experiment.terms.reload)
    async with asyncio.timeout(_RELOAD_S):
        status = await process.wait()
    if status:
        raise OSError(f"the command that reloads the front ended with status {status}")


async def send_a_crowd(experiment: Experiment) -> None:
    """Add 200 closed-loop users for `--duration-s`."""
    terms = experiment.terms
    load = terms.closed_loop(200, terms.duration_s)
    await experiment.add_load(load, terms.client("crowd", experiment.rng), duration_s=terms.duration_s)


async def flood(experiment: Experiment) -> None:
    """Raise the load to three times the capacity for twice `--duration-s`; the new clients wait for 1 s."""
    terms = experiment.terms
    load = terms.open_loop((3 - terms.load) * experiment.capacity_rps, 2 * terms.duration_s)
    client = replace(terms.client("flood", experiment.rng), headers=SHORT_TIMEOUT)
    await experiment.add_load(load, client, duration_s=2 * terms.duration_s)
