"""HTTP/1.1 pipelining: reads the requests of a connection in order, few at a time. Limits neither size nor time.

Adds to uvicorn's protocol: a limit on the requests that a client sends ahead of the answers; `Upgrade` requests, which
are answered as HTTP/1.1; and clients that close their sending half of the connection and wait for their answers.
"""

import asyncio
import json
from typing import Any, cast

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from servers.http.connection.direct import DirectCycle, FindTask, direct_cycle
from servers.http.connection.write_coalescing import CoalescingTransport
from servers.http.exchange import EXCHANGE

MAX_AHEAD = 8
"""Most requests of a connection that are parsed and not answered."""

_HEAD_END = b"\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FIRST_PROBE_S = 0.01


class Refusal(Exception):
    """Stops the parser. The request is answered with this status and text, and the connection is closed."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _Flow(FlowControl):
    """uvicorn's flow control, with pauses that a handler's wish for its body does not end."""

    is_held = False

    def hold(self) -> None:
        self.is_held = True
        self.pause_reading()

    def release(self) -> None:
        self.is_held = False
        self.resume_reading()

    def resume_reading(self) -> None:
        if self.read_paused and not self.is_held:
            super().resume_reading()


class PipelinedProtocol(HttpToolsProtocol):
    """At most MAX_AHEAD requests of a connection are parsed; bytes beyond them are parsed as answers go out.

    So a connection with many requests gets one turn of the event loop for each, as every other connection does.
    """

    flow: _Flow

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.owed = 0  # requests with a parsed head and no complete answer
        self.in_body = False
        self._current: RequestResponseCycle | None = None  # of the request that is answered now
        self._data = b""  # what was read last; the parser has had the bytes before `_start`
        self._start = 0
        self.piece = 0  # bytes that the parser reads now
        self.upgrades = False  # the parser has just read the head of an Upgrade request
        self.is_last = False  # nothing more is read: the connection closes after the answers that are due
        self._refusal = b""  # sent after them
        self._task_for: FindTask | None = getattr(self.app, "task_for", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wrap the transport."""
        coalescing = CoalescingTransport(cast(asyncio.Transport, transport), self.on_close)
        super().connection_made(cast(asyncio.Transport, coalescing))
        self.flow = _Flow(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is answered now. uvicorn tells only the newest one."""
        if self._current is not None and not self._current.response_complete:
            self._current.disconnected = True
            self._current.message_event.set()
            if (exchange := self._current.scope["state"].get(EXCHANGE)) is not None:
                exchange.hang_up()
        if isinstance(self.cycle, DirectCycle):
            self.cycle.lost()
        self._data = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse as many requests as MAX_AHEAD allows."""
        if not self.is_last:
            self._data, self._start = data, 0
            self._parse()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio knows it so
        """Read no more. -> whether the connection stays open for answers that are due."""
        self.is_last = True
        self._drop_partial()
        if self.owed == 0:
            return False
        self._probe(_FIRST_PROBE_S)
        return True

    def on_headers_complete(self) -> None:
        """Count the request. Raises Refusal."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise Refusal(405, "this server is no proxy")
            self.upgrades = True
            return
        if (cycle := direct_cycle(self, self._task_for)) is None:
            super().on_headers_complete()
        else:
            before, self.cycle = self.cycle, cast(RequestResponseCycle, cycle)
            if before is None or before.response_complete:
                cycle.take_turn()
            else:
                self.flow.pause_reading()
                self.pipeline.appendleft((self.cycle, self.app))
        self.owed += 1
        self.in_body = True
        if not self.pipeline:
            self._current = self.cycle

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Begin to answer the next request."""
        if isinstance(cycle, DirectCycle):
            cycle.take_turn()
        else:
            super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        """End a request. For an Upgrade the parser calls this at the end of the head, which is too early."""
        if not self.upgrades:
            self.in_body = False
            super().on_message_complete()
            if isinstance(self.cycle, DirectCycle):
                self.cycle.complete()
            self.flow.resume_reading()  # a long body and uvicorn pause it, and the connection's end would not be seen

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        self.owed -= 1
        self._current = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        if self._data or self.is_last or self.flow.is_held:
            self._go_on()

    @property
    def owes_earlier(self) -> bool:
        """Whether answers to complete requests are due."""
        return self.owed > self._is_partial()

    def refuse(self, status: int, detail: str) -> None:
        """Read no more, send the answers that are due, then this one, and close.

        It answers an incomplete request, unless the application has begun to answer that request.
        """
        if self.is_last or self.transport.is_closing():
            return
        self.is_last = True
        is_answered = self.in_body and (self.cycle.response_started or self.cycle.response_complete)
        self._refusal = b"" if is_answered else _answer(status, detail)
        self._data = b""
        self._drop_partial()
        if self.owed > 0:
            self.flow.hold()
        else:
            self.transport.write(self._refusal)
            self.transport.close()

    def switch(self, rest: bytes) -> bool:
        """Hook: the request that was just read asks for another protocol. -> whether that has `rest` and all after."""
        return False

    def on_parsed(self, count: int) -> None:
        """Hook: `count` more bytes were parsed."""

    def on_close(self) -> None:
        """Hook: the connection closes as soon as the client has read its answers."""

    def _go_on(self) -> None:
        """After an answer: parse what was held back, or read again, or close."""
        if self.transport.is_closing():
            return
        if self.is_last and self.owed == 0:
            self.transport.write(self._refusal)
            self.transport.close()
        elif self._data:
            self._parse()
        elif not self.is_last:
            self.flow.release()

    def _parse(self) -> None:
        """Give the parser as many heads as MAX_AHEAD allows, and hold back the rest."""
        self._unset_keepalive_if_required()
        if self._start == 0 and self._data.count(_HEAD_END) <= MAX_AHEAD - self.owed:
            self._feed(self._data)
        while self._start < len(self._data) and self.owed < MAX_AHEAD:
            end = _end_of_heads(self._data, self._start, most=MAX_AHEAD - self.owed)
            self._feed(memoryview(self._data)[self._start : end])
        if self._start == len(self._data):
            self._data = b""
        if self._data or self.owed >= MAX_AHEAD or self.flow.is_held:
            self._hold_or_release()

    def _feed(self, data: bytes | memoryview) -> None:
        self.piece = count = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            count = upgrade.args[0]
            if self.switch(self._data[self._start + count :]):
                self._start = len(self._data)
                return
            self._parse_again()
        except httptools.HttpParserError as error:
            self._refuse_for(error)
            return
        self._start += count
        self.on_parsed(count)

    def _parse_again(self) -> None:
        """Give a new parser the same head without the Upgrade: the old one would read on in another protocol."""
        head = self._head_without_upgrade()
        self.upgrades = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserError as error:
            self._refuse_for(error)

    def _hold_or_release(self) -> None:
        if self.is_last or self.transport.is_closing():
            return
        if self._data or self.owed >= MAX_AHEAD:
            self.flow.hold()
        else:
            self.flow.release()

    def _refuse_for(self, error: httptools.HttpParserError) -> None:
        """Answer an error of the parser, or the Refusal of a callback, which is its context."""
        self._data = b""
        cause = error.__context__
        if isinstance(cause, Refusal):
            self.refuse(cause.status, str(cause))
        else:
            self.refuse(400, "that is no HTTP request")

    def _head_without_upgrade(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        kept = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([b"%b %b HTTP/%b" % (method, self.url, version), *kept, b"", b""])

    def _is_partial(self) -> bool:
        """Whether a request has a head, no end, and no answer."""
        return self.in_body and not self.cycle.response_complete

    def _drop_partial(self) -> None:
        """Forget an incomplete request. One that is being answered sees the connection close."""
        if self._is_partial():
            if self.pipeline:
                self.pipeline.popleft()  # the newest
            self.cycle = self.pipeline[0][0] if self.pipeline else self._current  # type: ignore[assignment]
            self.owed -= 1
        self.in_body = False

    def _probe(self, pause_s: float) -> None:
        """Find out whether a client that sends no more still reads: send it `100 Continue` now and then.

        A client that has closed both halves answers with a reset, and the next write fails. A client that reads ignores
        a 100 that it did not ask for (RFC 9110, 15.2).
        """
        if self.transport.is_closing() or self._current is None:
            return
        if not self._current.response_started and self._current.scope["http_version"] == "1.1":
            self.transport.write(_CONTINUE)
        self.loop.call_later(pause_s, self._probe, 2 * pause_s)


def _end_of_heads(data: bytes, start: int, *, most: int) -> int:
    """Index of the end of the `most`-th head after `start`, or of the data."""
    end = start
    for _ in range(most):
        found = data.find(_HEAD_END, end)
        if found < 0:
            return len(data)
        end = found + len(_HEAD_END)
    return end


def _answer(status: int, detail: str) -> bytes:
    body = json.dumps({"detail": detail}).encode()
    head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return STATUS_LINE[status] + head.encode() + body
