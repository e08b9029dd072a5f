"""A client process: sends one share of a load. Started by senders.py as `python -m ragbench.load.sender`.

stdin: the job, then the origin once all senders are ready, then `stop` if the server died. stdout, as JSON
lines: ready, each row, done.
"""

import asyncio
import json
import sys
from asyncio.streams import FlowControlMixin
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from ragbench.load.client import ServiceError, connect
from ragbench.load.fire import fire
from ragbench.load.target import Target
from ragbench.processes.loop import loop_factory
from ragbench.results.records import REQUESTS, Row
from ragbench.study.schedule import Request, Turns

READY = b'"ready"\n'
DONE = b'"done"\n'
STOP = b"stop\n"
_POST_S = 0.1  # rows are written in bundles: waking the parent for each row would take a core from the senders
_COLUMNS = REQUESTS.columns


@dataclass(frozen=True, slots=True)
class Job:
    """What a sender does."""

    target: Target
    share: tuple[Request, ...] | Turns


def job_line(job: Job) -> bytes:
    """A job as a line of JSON. A question may hold a lone surrogate, which json can spell and msgspec cannot."""
    return json.dumps(msgspec.to_builtins(job)).encode() + b"\n"


def read_job(line: bytes) -> Job:
    """Inverse of `job_line`."""
    return msgspec.convert(json.loads(line), type=Job)


def row_line(row: Row) -> bytes:
    """A row as a line of JSON: its values in the order of its fields."""
    return json.dumps([getattr(row, column) for column in _COLUMNS]).encode() + b"\n"


def read_row(line: bytes) -> Row:
    """Inverse of `row_line`."""
    return Row(*json.loads(line))


async def run(job: Job) -> None:
    """Connect, write ready, wait for the origin, send the share, write every row."""
    orders, out = await _stdin(), await _stdout()
    written: set[int] = set()
    waiting: list[bytes] = []

    async def origin() -> float:
        out.write(READY)
        return float(await orders.readline())

    async def stopped() -> None:
        await orders.readline()

    def write(row: Row) -> None:
        written.add(row.request)
        if not waiting:
            asyncio.get_running_loop().call_later(_POST_S, flush)
        waiting.append(row_line(row))

    def flush() -> None:
        out.write(b"".join(waiting))
        waiting.clear()

    async with connect(job.target) as client:
        with suppress(ServiceError):  # then the rows will say so
            await client.check()
        for row in await fire(job.share, client, origin=origin, ended=stopped(), on_row=write):
            if row.request not in written:
                write(row)
    flush()
    out.write(DONE)
    await out.drain()


async def _stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _stdout() -> asyncio.StreamWriter:
    """Never blocks: it buffers what the pipe does not take, so that a slow reader delays no request."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(FlowControlMixin, sys.stdout)
    transport.set_write_buffer_limits(0)  # `drain` waits until all of it is gone
    return asyncio.StreamWriter(transport, protocol, None, loop)


def main() -> None:
    """Run the job that comes on stdin."""
    job = read_job(sys.stdin.buffer.readline())
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run(job))


if __name__ == "__main__":
    main()
