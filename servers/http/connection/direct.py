"""A task's request on its connection, answered without ASGI's messages: the whole body is here when it begins."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from servers.errors import ClientGone, RequestError
from servers.http.exchange import EXCHANGE, Exchange, Reply
from servers.http.task import Task

if TYPE_CHECKING:
    from servers.http.connection.pipelined import PipelinedProtocol


log = logging.getLogger(__name__)
FindTask = Callable[[bytes, list[tuple[bytes, bytes]]], tuple[Task, dict[bytes, bytes]] | None]
"""(path with query, headers) -> the task that a POST asks for and the headers by name, if it is to be answered."""


def direct_cycle(protocol: "PipelinedProtocol", task_for: FindTask | None) -> "DirectCycle | None":
    """The cycle of a task's request that is as most are; None for any other, which is answered through ASGI.

    That is HTTP/1.1 on a connection that stays open, with a body of a known length that uvicorn reads without a pause.
    """
    parser = protocol.parser
    if task_for is None or parser.get_method() != b"POST" or protocol.expect_100_continue:
        return None
    if parser.get_http_version() != "1.1" or not parser.should_keep_alive():
        return None
    if (found := task_for(protocol.url, protocol.headers)) is None:
        return None
    task, headers = found
    length = headers.get(b"content-length", b"")
    if b"transfer-encoding" in headers or not length.isdigit() or int(length) > HIGH_WATER_LIMIT:
        return None
    return DirectCycle(protocol, task, Exchange(task.endpoint.path, headers))


class _Unheard:
    """In place of the event by which uvicorn wakes an ASGI application."""

    def set(self) -> None: ...


_UNHEARD = _Unheard()


class DirectCycle:
    """What uvicorn's protocol wants of a RequestResponseCycle, without its messages."""

    __slots__ = (
        "_exchange",
        "_is_complete",
        "_is_turn",
        "_protocol",
        "_task",
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
    )

    def __init__(self, protocol: "PipelinedProtocol", task: Task, exchange: Exchange) -> None:
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.keep_alive = True
        self.response_started = False
        self.response_complete = False
        self.message_event = _UNHEARD
        self.scope = {"state": {EXCHANGE: exchange}, "http_version": "1.1"}
        self._protocol = protocol
        self._task = task
        self._exchange = exchange
        self._is_complete = False
        self._is_turn = False

    def complete(self) -> None:
        """The body is complete."""
        self._is_complete = True
        self._begin()

    def lost(self) -> None:
        """The connection has ended."""
        if not self._is_complete:
            log.debug("the client closed the connection before its body was complete")

    def take_turn(self) -> None:
        """All earlier requests of the connection are answered."""
        self._is_turn = True
        self._begin()

    def _begin(self) -> None:
        if self._is_complete and self._is_turn:
            protocol = self._protocol
            task = protocol.loop.create_task(self._answer())
            task.add_done_callback(protocol.tasks.discard)
            protocol.tasks.add(task)

    async def _answer(self) -> None:
        self._exchange.body = bytes(self.body)
        reply = await self._task.answer(self._exchange)
        try:
            async with nullcontext() if reply.parts is None else aclosing(reply.parts):
                await self._send(reply)
        except ClientGone:
            log.debug("the client closed the connection before its answer was complete")
        except RequestError as error:  # the server stops
            log.warning("an answer broke off: %s", error)
            self._protocol.transport.close()
        except Exception:  # the task's edge
            log.exception("an answer broke off")
            self._protocol.transport.close()
        except asyncio.CancelledError:
            self._protocol.transport.close()
            raise

    async def _send(self, reply: Reply) -> None:
        protocol = self._protocol
        if protocol.flow.write_paused and not self.disconnected:
            await protocol.flow.drain()
        if self.disconnected:
            return
        self.response_started = True
        head = [STATUS_LINE[reply.status], _lines(protocol.server_state.default_headers), _lines(reply.headers)]
        if not self.keep_alive:
            head.append(b"connection: close\r\n")
        if reply.parts is None:
            head.append(b"content-length: %d\r\n\r\n" % len(reply.body))
            protocol.transport.write(b"".join(head) + reply.body)
        else:
            head.append(b"transfer-encoding: chunked\r\n\r\n")
            protocol.transport.write(b"".join(head))
            await self._exchange.within(self._send_parts(reply.parts), timeout_s=None)
        self.response_complete = True
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()

    async def _send_parts(self, parts: AsyncGenerator[bytes, None]) -> None:
        protocol = self._protocol
        async for part in parts:
            if part:
                protocol.transport.write(b"%x\r\n%b\r\n" % (len(part), part))
            if protocol.flow.write_paused:
                await protocol.flow.drain()
        protocol.transport.write(b"0\r\n\r\n")


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
