"""Fire a load. Open loop: each request is sent when it is due, whether or not earlier ones are answered. Closed: turns.

schedule.py decides what is due when, wires/ what an answer means, senders.py which process sends what.
"""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

from ragbench.load.client import Client, Clock, Prepared
from ragbench.processes.priority import served_first
from ragbench.results.records import ReplicaCount, Row
from ragbench.study.schedule import Request, Turns

OnRow = Callable[[Row], None]
Origin = Callable[[], Awaitable[float]]  # called when all is prepared; the event loop's time at which the load begins
Work = Callable[[Origin], Awaitable[list[Row]]]  # a load that is ready to be sent
Watcher = Callable[[Clock], Coroutine[Any, Any, None]]

_LEAD_S = 0.02  # from setting the origin to the first due time, so that no request starts late
_SWITCH_S = 0.0005  # other threads (the progress display) give the interpreter back this soon; Python's own is 5 ms
_SAMPLE_S = 0.5
_BACK_OFF_S = 0.1  # a closed loop's user who got no answer tries again after this; at once would be a busy loop


class Asker(Protocol):
    """The part of a client that `fire` calls."""

    def prepare(self, request: Request) -> Prepared:
        """Everything that can be done before the request is due."""

    async def ask(self, prepared: Prepared, clock: Clock) -> Row:
        """Send it; every outcome is a row."""


async def soon() -> float:
    """An origin for a load that this process fires alone."""
    return asyncio.get_running_loop().time() + _LEAD_S


async def fire(
    load: Sequence[Request] | Turns,
    client: Asker,
    origin: Origin = soon,
    *,
    ended: Awaitable[None] | None = None,
    on_row: OnRow | None = None,
) -> list[Row]:
    """Send the whole load; one row per request, in the order in which they were due.

    When `ended` completes (the server died), nothing more is sent: those requests stay `unsent`. `on_row` is called
    with each row as it comes. Cancelled, it cancels every request and returns nothing.
    """
    ended, on_row = ended or asyncio.Future(), on_row or (lambda row: None)
    if isinstance(load, Turns):
        return await _take_turns(load, client, origin, ended, on_row)
    return await _send_schedule(load, client, origin, ended, on_row)


async def beside(work: Work, *, origin: Origin, watchers: Sequence[Watcher]) -> list[Row]:
    """The rows of `work`, with each of `watchers` running from its origin until it is over, on its clock."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as watching:
        tasks: list[asyncio.Task[None]] = []

        async def begin() -> float:
            origin_s = await origin()
            tasks.extend(watching.create_task(watcher(lambda: loop.time() - origin_s)) for watcher in watchers)
            return origin_s

        rows = await work(begin)
        for task in tasks:
            task.cancel()
    return rows


async def watch_replicas(client: Client, counts: list[ReplicaCount], clock: Clock) -> None:
    """Count the replicas every half second until cancelled; give up where the first asking is not answered."""
    tick = 0
    while True:
        count = await client.replica_count(clock)
        if count is not None:
            counts.append(count)
        elif not counts:
            return
        tick = max(tick + 1, int(clock() / _SAMPLE_S) + 1)
        await asyncio.sleep(max(0.0, tick * _SAMPLE_S - clock()))


async def _send_schedule(
    schedule: Sequence[Request], client: Asker, origin: Origin, ended: Awaitable[None], on_row: OnRow
) -> list[Row]:
    """Open loop."""
    prepared = [client.prepare(request) for request in schedule]
    rows = {request.number: Row(request.number, request.question.id, request.due_s) for request in schedule}
    with _undisturbed:
        clock = _clock_from(await origin())

        async def send(request: Prepared) -> None:
            row = await client.ask(request, clock)
            rows[row.request] = row
            on_row(row)

        async def send_when_due() -> None:
            """Deadlines are absolute: a late send delays no other, and lost time is caught up with at once."""
            for request in prepared:
                # Sleeps even when late, for no time at all, so that what is under way goes on.
                await asyncio.sleep(max(0.0, request.request.due_s - clock()))
                requests.create_task(send(request))

        async with asyncio.TaskGroup() as watching, asyncio.TaskGroup() as requests:
            sending = requests.create_task(send_when_due())
            dead = watching.create_task(_call_after(ended, sending.cancel))
            sending.add_done_callback(lambda _: dead.cancel())
    return [rows[request.number] for request in schedule]


async def _take_turns(turns: Turns, client: Asker, origin: Origin, ended: Awaitable[None], on_row: OnRow) -> list[Row]:
    """Closed loop. A request is due when it is sent; of a fixed number, those left by a dead server are rows."""
    asked = turns.asked()
    rows: list[Row] = []
    dead = asyncio.Event()
    with _undisturbed:
        clock = _clock_from(await origin())
        end_s = turns.span.duration_s

        async def user() -> None:
            while not dead.is_set() and (end_s is None or clock() < end_s):
                number, question = next(asked, (None, None))
                if number is None or question is None:
                    return
                row = await client.ask(client.prepare(Request(number, clock(), question)), clock)
                rows.append(row)
                on_row(row)
                if row.status != "ok":
                    await asyncio.sleep(_BACK_OFF_S)

        async with asyncio.TaskGroup() as watching:
            waiting = watching.create_task(_call_after(ended, dead.set))
            await asyncio.sleep(max(0.0, -clock()))
            async with asyncio.TaskGroup() as users:
                for _ in range(turns.own_users):
                    users.create_task(user())
            waiting.cancel()
        if dead.is_set() and turns.span.requests is not None:
            rows += [Row(number, question.id, clock()) for number, question in asked]
    return sorted(rows, key=lambda row: row.request)


def _clock_from(origin_s: float) -> Clock:
    loop = asyncio.get_running_loop()
    return lambda: loop.time() - origin_s


async def _call_after(ended: Awaitable[None], act: Callable[[], object]) -> None:
    await ended
    act()


class _Undisturbed:
    """Keep pauses short: of the collector (objects made so far are left out), of other threads, of the scheduler.

    Several loads at once, as in a calibration, share it: the last one to end puts everything back.
    """

    def __init__(self) -> None:
        self._loads = 0
        self._undo = ExitStack()

    def __enter__(self) -> None:
        self._loads += 1
        if self._loads == 1:
            self._undo.callback(sys.setswitchinterval, sys.getswitchinterval())
            gc.collect()
            gc.freeze()
            self._undo.callback(gc.unfreeze)
            sys.setswitchinterval(_SWITCH_S)
            self._undo.enter_context(served_first())

    def __exit__(self, *exception: object) -> None:
        self._loads -= 1
        if self._loads == 0:
            self._undo.close()


_undisturbed = _Undisturbed()
