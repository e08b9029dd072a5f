"""How much and how slowly a client may send: uvicorn's protocol with limits on a request's head, length and time.

Judges neither keys nor what is asked; the body's own limit is envelope.py's.
"""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from servers.corked import CorkedProtocol
from servers.door import Door

__all__ = ["MAX_HEADERS", "MAX_HEAD_BYTES", "GuardedProtocol", "guarded"]

MAX_HEAD_BYTES = 16_384
MAX_HEADERS = 100
_IDLE_S = 1.0
_CHUNK_FACTOR = 8
"""A body in chunks of one byte takes six on the way; whatever is beyond that is no body."""


class _HeadTooLarge(Exception):
    """Stops the parser."""


class GuardedProtocol(CorkedProtocol):
    """A request's head must be whole `client_timeout_s` after its first byte, its body as long after the head.

    There is one timer a connection. It is set when something is first waited for, and looks only when it fires whether
    that has come or what is waited for meanwhile: a request costs a few assignments.
    """

    client_timeout_s: float
    max_body_bytes: int
    door: Door | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._due_s: float | None = None
        self._answered_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._received = 0  # bytes of this request in earlier reads
        self._read = 0  # bytes of this read
        self._refusal = 400, "that is no HTTP request"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected, and should say something."""
        super().connection_made(transport)
        if self.door is not None:
            self.door.entered(self)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)
        if self.door is not None:
            self.door.left(self)

    def leave_if_idle(self) -> bool:
        """See Guest; the time between two requests of one who is busy is not idle."""
        is_idle = self.cycle is not None and self.cycle.response_complete and not self.pipeline
        if not is_idle or self.loop.time() - self._answered_s < _IDLE_S or self.transport.is_closing():
            return False
        self.transport.close()
        return True

    def on_response_complete(self) -> None:
        """An answer is out."""
        self._answered_s = self.loop.time()
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        """Parse it, then see that it is not too much."""
        if self._due_s is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()  # for a head, of which this may be no more than an empty line
        self._read = len(data)
        super().data_received(data)
        self._received += self._read
        if self._received > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._limit()

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        self._in_head = True
        self._wait()

    def on_headers_complete(self) -> None:
        """The last byte of a head."""
        if self._received + self._read > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
                self._refusal = 431, f"at most {MAX_HEADERS} headers and {MAX_HEAD_BYTES} bytes of them"
                raise _HeadTooLarge
        self._in_head = False
        self._wait()
        super().on_headers_complete()
        if self.door is not None and self.door.is_crowded and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The last byte of a request: now it is for us to make haste."""
        self._due_s = None
        self._received = -self._read  # what else is in this read was counted
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser has stopped, for its reasons or ours: say why, unless another answer comes first, and close."""
        status, detail = self._refusal
        if self._may_answer():
            body = json.dumps({"detail": detail}).encode()
            head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()

    def _may_answer(self) -> bool:
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return True
        is_its_body = cycle.more_body and not self._in_head and not self.pipeline
        return is_its_body and not cycle.response_started

    def _refuse(self, status: int, detail: str) -> None:
        self._refusal = status, detail
        self.send_400_response(detail)

    def _limit(self) -> None:
        if self._in_head:
            self._refuse(431, f"at most {MAX_HEAD_BYTES} bytes of headers")
        elif self._received > MAX_HEAD_BYTES + _CHUNK_FACTOR * self.max_body_bytes and _is_chunked(self.headers):
            # Chunks and the headers after them: the parser keeps those, and no limit on the body sees them.
            self._refuse(413, f"body: must be at most {self.max_body_bytes} bytes")

    def _wait(self) -> None:
        self._due_s = self.loop.time() + self.client_timeout_s
        if self._timer is None:
            self._timer = self.loop.call_at(self._due_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._due_s is None or self.transport.is_closing():
            return
        if self._is_our_turn():
            self._wait()
        elif self.loop.time() < self._due_s:
            self._timer = self.loop.call_at(self._due_s, self._look)
        elif self._in_head or (self.cycle is not None and not self.cycle.response_complete):
            self._refuse(408, f"the request was not whole within {self.client_timeout_s:g} s")
        else:
            self.transport.close()

    def _is_our_turn(self) -> bool:
        """Whether it is we who do not read, or who owe the answer to the request before."""
        is_owed = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        return self.flow.read_paused or is_owed


def guarded(*, client_timeout_s: float, max_body_bytes: int, door: Door | None = None) -> type[GuardedProtocol]:
    """The protocol with these limits, for uvicorn, which makes one for each connection that comes in by `door`."""
    limits = {"client_timeout_s": client_timeout_s, "max_body_bytes": max_body_bytes, "door": door}
    return type("Guarded", (GuardedProtocol,), limits)


def _is_chunked(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" for name, _ in headers)
