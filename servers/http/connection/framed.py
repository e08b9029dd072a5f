"""The replica's end of a framed link: answers the tasks that come by it. Checks no keys (switching.py)."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Protocol

from servers.errors import ClientGone, RequestError
from servers.http.connection.frames import (
    MOST_FIELDS_BYTES,
    WINDOW_BYTES,
    FrameError,
    FrameReader,
    Kind,
    frame,
    packed,
    size_in,
    unpacked,
)
from servers.http.exchange import Exchange
from servers.http.task import Task

log = logging.getLogger(__name__)


class Writer(Protocol):
    """Where frames are written: a transport that sends those of a turn together."""

    def write(self, data: bytes) -> None:
        """Send the bytes, soon."""

    def close(self) -> None:
        """Send what is left, and close."""


class _Asked:
    """A request that is being answered."""

    __slots__ = ("allowed", "exchange", "has_room")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.allowed = WINDOW_BYTES
        self.has_room = asyncio.Event()


class Framed:
    """One link. `running` are the tasks that a server waits for before it ends."""

    def __init__(
        self, writer: Writer, tasks: Mapping[str, Task], running: set[asyncio.Task[None]], *, max_body_bytes: int
    ) -> None:
        self._writer = writer
        self._tasks = {path.encode(): task for path, task in tasks.items()}
        self._running = running
        self._asked: dict[int, _Asked] = {}
        self._is_closing = False
        self._reader = FrameReader(self._read, most=max_body_bytes + MOST_FIELDS_BYTES)
        self.feed = self._reader.feed

    def shut_down(self) -> None:
        """Close after the answers that are due."""
        self._is_closing = True
        if not self._asked:
            self._writer.close()

    def lost(self) -> None:
        """The connection has ended: nobody reads the answers."""
        for asked in self._asked.values():
            asked.exchange.hang_up()
        self._is_closing = True

    def _read(self, kind: int, number: int, payload: bytes) -> None:
        asked = self._asked.get(number)
        if kind == Kind.ASK:
            if asked is not None:
                raise FrameError(f"request {number} is being answered")
            self._begin(number, payload)
        elif asked is None:  # it has been answered meanwhile
            return
        elif kind == Kind.CANCEL:
            asked.exchange.hang_up()
        elif kind == Kind.MORE:
            asked.allowed += size_in(payload)
            asked.has_room.set()
        else:
            raise FrameError(f"a frame of kind {kind}")

    def _begin(self, number: int, payload: bytes) -> None:
        fields, body = unpacked(payload)
        task = self._tasks.get(fields[0][1]) if fields else None
        if task is None:
            raise FrameError("a request of no task")
        asked = self._asked[number] = _Asked(Exchange(task.endpoint.path, dict(fields[1:]), body))
        running = asyncio.get_running_loop().create_task(self._answer(number, asked, task))
        running.add_done_callback(self._running.discard)
        self._running.add(running)

    async def _answer(self, number: int, asked: _Asked, task: Task) -> None:
        try:
            reply = await task.answer(asked.exchange)
            status = (b":status", b"%d" % reply.status)
            if reply.parts is None:
                self._writer.write(frame(Kind.REPLY, number, packed((status, *reply.headers), reply.body)))
            else:
                self._writer.write(frame(Kind.BEGIN, number, packed((status, *reply.headers), b"")))
                await asked.exchange.within(self._send_parts(number, asked, reply.parts), timeout_s=None)
        except ClientGone:
            log.debug("the fleet gave up a request")
        except RequestError as error:  # the server stops
            log.warning("an answer broke off: %s", error)
            self._writer.write(frame(Kind.BROKEN, number))
        except Exception:  # the task's edge
            log.exception("an answer broke off")
            self._writer.write(frame(Kind.BROKEN, number))
        finally:
            del self._asked[number]
            if self._is_closing and not self._asked:
                self._writer.close()

    async def _send_parts(self, number: int, asked: _Asked, parts: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(parts):
            async for part in parts:
                while asked.allowed <= 0:
                    asked.has_room.clear()
                    await asked.has_room.wait()
                if part:
                    asked.allowed -= len(part)
                    self._writer.write(frame(Kind.PART, number, part))
        self._writer.write(frame(Kind.END, number))
