"""Fire a schedule open loop: each request leaves when it is due, whatever became of those before it.

What is due when is decided in schedule.py, what an answer means in client.py.
"""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from ragbench.client import Clock, Prepared
from ragbench.records import ReplicaCount, Row
from ragbench.schedule import Request

OnRow = Callable[[Row], None]

_LEAD_S = 0.02  # from setting the origin to the first due time, so that no request starts late
_SWITCH_S = 0.0005  # other threads (the progress display) give the interpreter back this soon; Python's own is 5 ms
_SAMPLE_S = 0.5


class Asker(Protocol):
    """What `fire` needs of a client."""

    def prepare(self, request: Request) -> Prepared:
        """Everything that can be done before the request is due."""

    async def ask(self, prepared: Prepared, clock: Clock) -> Row:
        """Send it; every outcome is a row."""

    async def replica_count(self, clock: Clock) -> ReplicaCount | None:
        """How many replicas there are now, where that is known."""


async def fire(
    schedule: Sequence[Request],
    client: Asker,
    *,
    ended: Awaitable[None] | None = None,
    on_row: OnRow | None = None,
) -> tuple[list[Row], list[ReplicaCount]]:
    """Send the whole schedule; one row per request in its order, and the replica counts where the service tells.

    When `ended` completes (the server died), nothing more is sent: those requests stay `unsent`. `on_row` is called
    with each row as it comes. Cancelled, it cancels every request and returns nothing.
    """
    prepared = [client.prepare(request) for request in schedule]
    rows = {request.number: Row(request.number, request.question.id, request.due_s) for request in schedule}
    loop = asyncio.get_running_loop()
    with _undisturbed():
        origin_s = loop.time() + _LEAD_S

        def clock() -> float:
            return loop.time() - origin_s

        async def send(one: Prepared) -> None:
            row = await client.ask(one, clock)
            rows[row.request] = row
            if on_row is not None:
                on_row(row)

        async with asyncio.TaskGroup() as watchers:
            counts: list[ReplicaCount] = []
            watching = [watchers.create_task(_watch_replicas(client, clock, counts))]
            async with asyncio.TaskGroup() as requests:
                sending = requests.create_task(_send_when_due(prepared, clock, requests, send))
                if ended is not None:
                    watching.append(watchers.create_task(_cancel_after(ended, sending)))
            for task in watching:
                task.cancel()
    return [rows[request.number] for request in schedule], counts


async def _send_when_due(
    prepared: Sequence[Prepared],
    clock: Clock,
    requests: asyncio.TaskGroup,
    send: Callable[[Prepared], Awaitable[None]],
) -> None:
    """Absolute deadlines: one late send delays no other, and time lost is caught up with at once."""
    for one in prepared:
        # Sleeps even when late, for no time at all, so that what is under way goes on.
        await asyncio.sleep(max(0.0, one.request.due_s - clock()))
        requests.create_task(send(one))  # type: ignore[arg-type]


async def _cancel_after(ended: Awaitable[None], sending: asyncio.Task[None]) -> None:
    await ended
    sending.cancel()


async def _watch_replicas(client: Asker, clock: Clock, counts: list[ReplicaCount]) -> None:
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


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep pauses of the interpreter short: objects made so far are left out of garbage collection."""
    switch_s = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(switch_s)
        gc.unfreeze()
