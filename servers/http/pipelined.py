"""Takes the requests off a connection in their order, few at a time. Limits neither their size nor their time.

Three things that uvicorn's protocol leaves open: how many requests a client may send ahead of the answers; a request
that asks for another protocol (`Upgrade`), which is a request like any other for a server that speaks HTTP/1.1 alone;
and a client that has closed its sending half of the connection and waits for its answers.
"""

import asyncio
import json
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from servers.http.write_coalescing import CorkedProtocol

__all__ = ["MAX_AHEAD", "PipelinedProtocol", "Refusal"]

MAX_AHEAD = 8
"""Requests of one connection that are parsed and not answered; reading stops there."""

_HEAD_END = b"\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FIRST_PROBE_S = 0.01


class Refusal(Exception):
    """Stops the parser: the request is answered with this status and text, and the connection ends."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _Flow(FlowControl):
    """uvicorn's, except that a handler which wants a body does not end a pause of ours."""

    is_held = False

    def hold(self) -> None:
        """Read nothing until `release`."""
        self.is_held = True
        self.pause_reading()

    def release(self) -> None:
        """Read again."""
        self.is_held = False
        self.resume_reading()

    def resume_reading(self) -> None:
        """Read again, unless held."""
        if self.read_paused and not self.is_held:
            super().resume_reading()


class PipelinedProtocol(CorkedProtocol):
    """At most MAX_AHEAD requests wait on a connection; what has been read beyond them is parsed as they are answered.

    So a connection with much to ask gets one turn of the loop for each request, as every other connection does.
    """

    flow: _Flow

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.owed = 0  # requests whose head has come and whose answer is not out
        self.in_body = False
        self._current: RequestResponseCycle | None = None  # of the request that is being answered
        self._data = b""  # what was read last, of which the parser has had those before `_start`
        self._start = 0
        self.piece = 0  # bytes that the parser is given now
        self.upgrades = False  # the parser has just had the head of a request that asks for another protocol
        self.is_last = False  # nothing more is read: the connection ends with the answers that are due
        self._refusal = b""  # sent after them

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        super().connection_made(transport)
        self.flow = _Flow(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone. uvicorn tells that to the newest request alone, and not to an older one that is under way."""
        if self._current is not None and not self._current.response_complete:
            self._current.disconnected = True
            self._current.message_event.set()
        self._data = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse as much of it as there is room for."""
        if not self.is_last:
            self._data, self._start = data, 0
            self._parse()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio knows it so
        """The client sends no more. -> whether it has answers to wait for, and the connection is kept for them."""
        self.is_last = True
        self._drop_partial()
        if self.owed == 0:
            return False
        self._probe(_FIRST_PROBE_S)
        return True

    def on_headers_complete(self) -> None:
        """A head is there. Raises Refusal."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise Refusal(405, "this server is no proxy")
            self.upgrades = True
            return
        super().on_headers_complete()
        self.owed += 1
        self.in_body = True
        if not self.pipeline:
            self._current = self.cycle

    def on_message_complete(self) -> None:
        """A request is whole. With an Upgrade the parser says so at the end of the head, which is too early."""
        if not self.upgrades:
            self.in_body = False
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out: on with the next request."""
        self.owed -= 1
        self._current = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        if self._data or self.is_last or self.flow.is_held:
            self._go_on()

    @property
    def owes_before(self) -> bool:
        """Whether answers are due to requests that have come whole."""
        return self.owed > self._is_partial()

    def refuse(self, status: int, detail: str) -> None:
        """Read no more, give the answers that are due, then this one, and close.

        It is the answer to a request that has not come whole; where that has been given one already, it gets no second.
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

    def parsed(self, count: int) -> None:
        """So many bytes more have been parsed."""

    def _go_on(self) -> None:
        """After an answer: parse what was held back, or read again, or end."""
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
        """Feed the parser no more heads than there is room for, and hold back the rest."""
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
            self._parse_again()
        except httptools.HttpParserError as error:
            self._refuse_for(error)
            return
        self._start += count
        self.parsed(count)

    def _parse_again(self) -> None:
        """The parser takes what follows for another protocol. A new one is given the same head without the Upgrade."""
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
        """An error of a callback stands in the context of the parser's."""
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
        """A request that will never be whole waits for no answer. One that is being answered is told by the close."""
        if self._is_partial():
            if self.pipeline:
                self.pipeline.popleft()  # the newest
            self.cycle = self.pipeline[0][0] if self.pipeline else self._current  # type: ignore[assignment]
            self.owed -= 1
        self.in_body = False

    def _probe(self, pause_s: float) -> None:
        """Find out whether a client that sends no more still reads, for whom has gone should not be computed.

        One that has closed both halves answers what it is sent with a reset, and the next write fails; a client that
        reads has to ignore a 100 that it did not ask for (RFC 9110, 15.2).
        """
        if self.transport.is_closing() or self._current is None:
            return
        if not self._current.response_started and self._current.scope["http_version"] == "1.1":
            self.transport.write(_CONTINUE)
        self.loop.call_later(pause_s, self._probe, 2 * pause_s)


def _end_of_heads(data: bytes, start: int, *, most: int) -> int:
    """Where the `most`-th head after `start` ends, or the data."""
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
