"""What breaks, by pid or port: one function per fault. When it breaks is decided in stage.py, for whom in scenarios.py.

A fault returns when it is done, or never: the end of the load cancels it. Linux and macOS: signals.
"""

import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ragbench.chaos.fleet import Replica
from ragbench.chaos.rubbish import rubbish
from ragbench.chaos.stage import Stage
from ragbench.launch import start

Fault = Callable[[Stage], Awaitable[None]]

HURRY = {"X-Request-Timeout-S": "1"}
_READY_TIMEOUT_S = 60.0


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


async def stop_the_replacement(stage: Stage) -> None:
    """SIGKILL a replica, and SIGSTOP the next one while it starts, so that it is never ready."""
    _signal(await stage.a_ready_replica(), signal.SIGKILL)
    _signal(await stage.a_starting_replica(), signal.SIGSTOP)


async def register_rubbish(stage: Stage) -> None:
    """A replica that is ready and answers rubbish."""
    await stage.fleet.register(await stage.until_the_end.enter_async_context(rubbish()))


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
