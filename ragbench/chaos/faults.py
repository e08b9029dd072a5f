"""What breaks, by pid or port: one function per fault. When it breaks is decided in stage.py, for whom in scenarios.py.

A fault returns when it is done, or never: the end of the load cancels it. Linux and macOS: signals.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import aiohttp
import psutil

from ragbench.chaos.fleet import Replica
from ragbench.chaos.rubbish import rubbish
from ragbench.chaos.stage import NoReplica, Stage
from ragbench.processes.launch import start

Fault = Callable[[Stage], Awaitable[None]]

HURRY = {"X-Request-Timeout-S": "1"}
POISON = "poison"
_READY_TIMEOUT_S = 60.0
_ENGINE = "servers.engine.process"
_ORDERED = "a fault to order"
_ORDERED_S = 30.0
_LOOK_S = 0.2
_POISONED = 100


async def kill_a_replica(stage: Stage) -> None:
    """SIGKILL."""
    _signal(await stage.a_ready_replica(), signal.SIGKILL)


async def kill_a_worker(stage: Stage, *, mark: str) -> None:
    """SIGKILL a process of the fleet whose command line holds `mark`. Raises OSError where there is none."""
    workers = [process for process in stage.fleet.members if mark in " ".join(process.cmdline())]
    if not workers:
        raise ProcessLookupError(f"no process of the server has {mark!r} in its command line")
    workers.sort(key=lambda process: process.pid)
    workers[int(stage.rng.integers(len(workers)))].kill()


async def stop_a_replica(stage: Stage) -> None:
    """SIGSTOP, for good: its port still takes connections, and nothing answers."""
    _signal(await stage.a_ready_replica(), signal.SIGSTOP)


async def stop_an_engine(stage: Stage) -> None:
    """SIGSTOP the process that runs the models of a replica, whose front goes on answering."""
    victim = await stage.a_ready_replica()
    engines = [child for child in psutil.Process(victim.pid).children() if _ENGINE in child.cmdline()]
    if not engines:
        raise ProcessLookupError(f"replica {victim.url} has no process of its own for its models (--engine process)")
    engines[0].suspend()
    stage.fault_strikes()
    await stage.see_replaced(victim)


async def see_the_faulty_replica_fail(stage: Stage) -> None:
    """Wait until the log says that the first replica does what its flags order."""
    ready = await stage.fleet.replicas("ready")
    if not ready:
        raise NoReplica("no replica was ready when the fault was due")
    victim = ready[0]
    log = stage.folder / "server.log"
    async with asyncio.timeout(_ORDERED_S):
        while _ORDERED not in await asyncio.to_thread(log.read_text, errors="replace"):  # noqa: ASYNC110  a log wakes nobody
            await asyncio.sleep(_LOOK_S)
    stage.fault_strikes()
    await stage.see_replaced(victim, ready_before=len(ready))


async def ask_poisoned_questions(stage: Stage) -> None:
    """A hundred, one after another: each must fail, alone, and end no replica."""
    stage.fault_strikes()
    before = {replica.pid for replica in await stage.fleet.replicas()}
    statuses: Counter[int] = Counter()
    async with aiohttp.ClientSession() as session:
        for number in range(_POISONED):
            async with session.post(f"{stage.fleet.url}/rag", json={"query": f"{POISON} {number}"}) as answer:
                statuses[answer.status] += 1
    ended = before - {replica.pid for replica in await stage.fleet.replicas()}
    stage.figures |= {"poisoned": _POISONED, "poisoned_500": statuses[500], "replicas_ended": len(ended)}
    if ended or statuses[500] < _POISONED:
        stage.mishaps.append(f"poisoned questions were answered {dict(statuses)}, and {len(ended)} replicas ended")


async def stop_the_replacement(stage: Stage) -> None:
    """SIGKILL a replica, and SIGSTOP the next one while it starts, so that it is never ready."""
    _signal(await stage.a_ready_replica(), signal.SIGKILL)
    _signal(await stage.a_starting_replica(), signal.SIGSTOP)


async def register_rubbish(stage: Stage) -> None:
    """A replica that is ready and answers rubbish."""
    url = await stage.until_the_end.enter_async_context(rubbish())
    await stage.fleet.register(url)
    stage.fault_strikes()
    await stage.see_replaced(Replica(url, None, "ready", 0), needs_successor=False)


async def register_a_slow_replica(stage: Stage) -> None:
    """A replica that takes ten times as long over everything."""
    argv = [*stage.terms.replica, "--slowdown", "10", "--port", "0"]
    slow = await start(argv, log=stage.folder / "replica-slow.log", ready_timeout_s=_READY_TIMEOUT_S)
    stage.until_the_end.push_async_callback(slow.stop)
    stage.fault_is_over()  # starting it was none; the fault is what comes now
    await stage.fleet.register(slow.url)


async def restart_the_balancer(stage: Stage) -> None:
    """SIGTERM, and the same command on the same port, while the clients go on."""
    await stage.fleet.restart()


async def send_a_crowd(stage: Stage) -> None:
    """200 users who ask by turns for as long as `--duration-s`."""
    manner, length_s = stage.terms.manner("crowd"), stage.terms.duration_s
    await stage.add_load(stage.terms.closed_loop(200, length_s), manner, duration_s=length_s)
    stage.fault_ended_with_the_crowd()


async def flood(stage: Stage) -> None:
    """Raise the load to three times the capacity for twice `--duration-s`, by clients who give the fleet 1 s."""
    more_rps, length_s = (3 - stage.terms.load) * stage.capacity_rps, 2 * stage.terms.duration_s
    manner = replace(stage.terms.manner("flood"), headers=HURRY)
    await stage.add_load(stage.terms.open_loop(more_rps, length_s), manner, duration_s=length_s)
    stage.fault_ended_with_the_crowd()


def _signal(replica: Replica, number: signal.Signals) -> None:
    assert replica.pid is not None, "only replicas that the fleet started were asked for"
    os.kill(replica.pid, number)
