"""Several processes send one load. Each runs sender.py on a share of the schedule; none outlives this process.

The origin is set when all are ready, on the monotonic clock that the processes of a machine share, so that all rows
have one time axis.
"""

import asyncio
import itertools
import os
import sys
import tempfile
from collections.abc import Awaitable, Sequence
from pathlib import Path

from ragbench.load import sender
from ragbench.load.fire import OnRow, Origin
from ragbench.load.sender import Job, job_line, read_row
from ragbench.load.target import Target
from ragbench.processes.child import Child
from ragbench.results.paths import PACKAGE
from ragbench.results.records import Row
from ragbench.study.schedule import Request, Turns

READY_S = 60.0
_LEAD_S = 0.1  # from setting the origin to the first due time: all must have read it by then
_OVERTIME_S = 30.0
_LONGEST_ERROR = 300


async def soon_for_all() -> float:
    """An origin late enough to reach every sender in time."""
    return asyncio.get_running_loop().time() + _LEAD_S


async def fire_from(
    shares: Sequence[tuple[Request, ...] | Turns],
    target: Target,
    origin: Origin = soon_for_all,
    *,
    ended: Awaitable[None] | None = None,
    on_row: OnRow | None = None,
) -> list[Row]:
    """`load.fire` from one process per share. Requests without a row from a sender that died are `unsent`, with why."""
    senders: list[_Sender] = []
    with tempfile.TemporaryDirectory(prefix="ragbench-senders-") as logs:
        try:
            for number, share in enumerate(shares, start=1):
                log = Path(logs) / f"{number}.log"
                process = _Sender(f"sender {number} of {len(shares)}", share, log=log, on_row=on_row)
                await process.child.start()
                senders.append(process)
                process.child.write(job_line(Job(target, share)))
            async with asyncio.TaskGroup() as tasks:
                endings = [tasks.create_task(process.over()) for process in senders]
                await asyncio.wait([process.ready for process in senders], timeout=READY_S)
                for process in senders:
                    if not process.ready.done():
                        process.kill(f"was not ready within {READY_S:g} s")
                origin_s = await origin()
                for process in senders:
                    process.child.write(f"{origin_s!r}\n".encode())
                stopping = None if ended is None else tasks.create_task(_stop_after(ended, senders))
                await asyncio.wait(endings, timeout=_longest_s(shares, target.timeout_s))
                for process in senders:
                    process.kill(f"had not ended {_OVERTIME_S:g} s after its last request was over")
                if stopping is not None:
                    stopping.cancel()
        finally:
            for process in senders:
                process.kill("was stopped")
            await asyncio.gather(*(process.over() for process in senders), return_exceptions=True)
        return sorted((row for process in senders for row in process.all_rows()), key=lambda row: row.request)


def _longest_s(shares: Sequence[tuple[Request, ...] | Turns], timeout_s: float) -> float | None:
    """What a healthy sender may take from now. None where users take as long as their answers do."""
    first = shares[0]
    if isinstance(first, Turns):
        lasts_s = first.span.duration_s
    else:
        lasts_s = max((share[-1].due_s for share in shares if isinstance(share, tuple) and share), default=0.0)
    return None if lasts_s is None else _LEAD_S + lasts_s + timeout_s + _OVERTIME_S


async def _stop_after(ended: Awaitable[None], senders: Sequence["_Sender"]) -> None:
    await ended
    for process in senders:
        process.child.write(sender.STOP)


class _Sender:
    """One process and its rows."""

    def __init__(self, name: str, share: tuple[Request, ...] | Turns, *, log: Path, on_row: OnRow | None) -> None:
        search = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        argv = [sys.executable, "-m", "ragbench.load.sender"]
        self.child = Child(name, argv, log=log, on_line=self._take, has_stdin=True, env={"PYTHONPATH": search})
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._share = share
        self._on_row = on_row
        self._rows: dict[int, Row] = {}
        self._done = False
        self._fault: str | None = None

    def _take(self, line: bytes) -> None:
        if line == sender.READY.rstrip():
            self.ready.set_result(None)
        elif line == sender.DONE.rstrip():
            self._done = True
        else:
            row = read_row(line)
            self._rows[row.request] = row
            if self._on_row is not None:
                self._on_row(row)

    def kill(self, fault: str) -> None:
        """End it if it still runs; `fault` says why."""
        if self.child.failure() is None and not self._done:
            self._fault = f"{self.child.name} {fault}"
            self.child.kill()

    async def over(self) -> None:
        """Return when it has ended, by itself or killed, and its rows are taken."""
        await self.child.ended()
        await self.child.read_all()
        if not self.ready.done():
            self.ready.set_result(None)

    def all_rows(self) -> list[Row]:
        """A row for each request of its share; one that the sender did not report is `unsent`, with why it ended."""
        error = None if self._done else self._death()
        if isinstance(self._share, Turns):
            return [*self._rows.values(), *([] if error is None else self._missing(self._share, error))]
        unsent = (Row(r.number, r.question.id, r.due_s, error=error) for r in self._share)
        return [self._rows.get(row.request, row) for row in unsent]

    def _missing(self, turns: Turns, error: str) -> list[Row]:
        """The requests without a row; of a load over a duration the next one alone, as their number is unknown."""
        least_s = max((row.due_s for row in self._rows.values()), default=0.0)
        missing = (Row(n, q.id, least_s, error=error) for n, q in turns.asked() if n not in self._rows)
        return list(itertools.islice(missing, None if turns.span.requests else 1))

    def _death(self) -> str:
        last = self.child.last_line()
        return f"{self._fault or self.child.failure()}" + (f": {last}"[:_LONGEST_ERROR] if last else "")
