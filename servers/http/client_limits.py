"""How much and how slowly a client may send: uvicorn's protocol with limits on a request's head, length and time.

Judges neither keys nor what is asked; the body's own limit is middleware.py's.
"""

import asyncio
from typing import Any

from servers.http.acceptor import Door
from servers.http.pipelined import PipelinedProtocol, Refusal

__all__ = ["MAX_HEADERS", "MAX_HEAD_BYTES", "GuardedProtocol", "guarded"]

MAX_HEAD_BYTES = 16_384
MAX_HEADERS = 100
_IDLE_S = 1.0
_CHUNK_FACTOR = 8
"""A body in chunks of one byte takes six on the way; whatever is beyond that is no body."""
_LEAST_READ = 16_384
"""Bytes that a client has to read in `client_timeout_s` while more than it should is waiting to be sent to it."""


class GuardedProtocol(PipelinedProtocol):
    """A request's head must be whole `client_timeout_s` after its first byte, its body as long after the head.

    A client that does not read for as long is cut off: what is sent to it and not read takes memory.

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
        self._unread_timer: asyncio.TimerHandle | None = None
        self._unread = 0  # bytes, when last looked at
        self._in_head = False
        self._received = 0  # bytes of this request in earlier pieces

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected, and should say something."""
        super().connection_made(transport)
        if self.door is not None:
            self.door.entered(self, self._address())
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        for timer in (self._timer, self._unread_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        if self.door is not None:
            self.door.left(self, self._address())

    def leave_if_idle(self) -> bool:
        """See Guest; the time between two requests of one who is busy is not idle."""
        is_idle = self.cycle is not None and self.owed == 0
        if not is_idle or self.loop.time() - self._answered_s < _IDLE_S or self.transport.is_closing():
            return False
        self.transport.close()
        return True

    def on_response_complete(self) -> None:
        """An answer is out."""
        self._answered_s = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        if self._unread_timer is not None and not self.transport.is_closing():
            self._unread_timer.cancel()
            self._unread_timer = None

    def close_begins(self) -> None:
        """It should read what there is."""
        self._watch_reading()

    def data_received(self, data: bytes) -> None:
        """Parse it, or wait for a head, of which this may be no more than an empty line."""
        if self._due_s is None and self.owed == 0:
            self._wait()
        super().data_received(data)

    def parsed(self, count: int) -> None:
        """See that it is not too much."""
        self._received += count
        if self._received > MAX_HEAD_BYTES:
            self._limit()

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        self._in_head = True
        self._wait()

    def on_headers_complete(self) -> None:
        """The last byte of a head. Raises Refusal."""
        if self._received + self.piece > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
                raise Refusal(431, f"at most {MAX_HEADERS} headers and {MAX_HEAD_BYTES} bytes of them")
        self._in_head = False
        self._wait()
        super().on_headers_complete()
        if self.door is not None and self.door.is_crowded and not self.upgrades:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The last byte of a request: now it is for us to make haste."""
        self._due_s = None
        self._received = -self.piece  # what else is in this piece was counted
        super().on_message_complete()

    def _address(self) -> str | None:
        return self.client[0] if self.client else None

    def _limit(self) -> None:
        if not self.in_body:  # in a head, or in the empty lines that may come before it
            self.refuse(431, f"at most {MAX_HEAD_BYTES} bytes of headers")
        elif self._received > MAX_HEAD_BYTES + _CHUNK_FACTOR * self.max_body_bytes and _is_chunked(self.headers):
            # Chunks and the headers after them: the parser keeps those, and no limit on the body sees them.
            self.refuse(413, f"body: must be at most {self.max_body_bytes} bytes")

    def _wait(self) -> None:
        self._due_s = self.loop.time() + self.client_timeout_s
        if self._timer is None:
            self._timer = self.loop.call_at(self._due_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._due_s is None or self.transport.is_closing():
            return
        if self.flow.read_paused or self.owes_before:  # it is we who do not read, or who owe an answer
            self._wait()
        elif self.loop.time() < self._due_s:
            self._timer = self.loop.call_at(self._due_s, self._look)
        elif self._in_head or self.owed > 0:
            self.refuse(408, f"the request was not whole within {self.client_timeout_s:g} s")
        else:
            self.transport.close()

    def _watch_reading(self) -> None:
        if self._unread_timer is None:
            self._unread = self.transport.get_write_buffer_size()
            self._unread_timer = self.loop.call_later(self.client_timeout_s, self._cut_unless_read)

    def _cut_unless_read(self) -> None:
        self._unread_timer = None
        before = self._unread
        if self.transport.get_write_buffer_size() == 0:
            return
        self._watch_reading()
        if before - self._unread < _LEAST_READ:
            self.transport.abort()


def guarded(*, client_timeout_s: float, max_body_bytes: int, door: Door | None = None) -> type[GuardedProtocol]:
    """The protocol with these limits, for uvicorn, which makes one for each connection that comes in by `door`."""
    limits = {"client_timeout_s": client_timeout_s, "max_body_bytes": max_body_bytes, "door": door}
    return type("Guarded", (GuardedProtocol,), limits)


def _is_chunked(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" for name, _ in headers)
