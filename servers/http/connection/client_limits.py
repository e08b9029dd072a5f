"""How much and how slowly a client may send: limits on a request's head, its length and its time.

Checks no keys. The limit on a body's bytes is in guard.py and middleware.py.
"""

import asyncio
from typing import Any

from servers.http.connection.acceptor import Acceptor
from servers.http.connection.pipelined import PipelinedProtocol, Refusal

MAX_HEAD_BYTES = 16_384
MAX_HEADERS = 100
_IDLE_S = 1.0
_CHUNK_FACTOR = 8
"""On the wire, a body in chunks of one byte takes six times its length; more than that is no body."""
_LEAST_READ = 16_384
"""Bytes that a client must read in `client_timeout_s` while the write buffer is over its limit."""


class LimitedProtocol(PipelinedProtocol):
    """A request's head must be complete `client_timeout_s` after its first byte, its body as long after the head.

    A client that reads nothing for as long is disconnected, since unread answers take memory. A connection has one
    timer, which checks only when it fires whether the client is late: a request costs a few assignments.
    """

    def __init__(
        self,
        *args: Any,
        client_timeout_s: float,
        max_body_bytes: int,
        acceptor: Acceptor,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.client_timeout_s = client_timeout_s
        self.max_body_bytes = max_body_bytes
        self.acceptor = acceptor
        self._due_s: float | None = None
        self._answered_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._unread = 0  # bytes, when last looked at
        self._in_head = False
        self._received = 0  # bytes of this request in earlier pieces

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timer of the first head."""
        super().connection_made(transport)
        self.acceptor.opened(self, self.client[0] if self.client else None)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        for timer in (self._timer, self._unread_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self.acceptor.closed(self)

    def close_if_idle(self) -> bool:
        """Close, unless a request is running or has ended a moment ago."""
        is_idle = self.cycle is not None and self.owed == 0
        if not is_idle or self.loop.time() - self._answered_s < _IDLE_S or self.transport.is_closing():
            return False
        self.transport.close()
        return True

    def on_response_complete(self) -> None:
        """Note the time of the answer."""
        self._answered_s = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Watch a client that reads more slowly than it is answered."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """Stop watching: the client has read."""
        super().resume_writing()
        if self._unread_timer is not None and not self.transport.is_closing():
            self._unread_timer.cancel()
            self._unread_timer = None

    def on_close(self) -> None:
        """Watch whether the client reads its last answer."""
        self._watch_reading()

    def data_received(self, data: bytes) -> None:
        """Parse the bytes. Empty lines before a head count as part of it."""
        if self._due_s is None and self.owed == 0:
            self._wait()
        super().data_received(data)

    def on_parsed(self, count: int) -> None:
        """Refuse a request that is too long."""
        self._received += count
        if self._received > MAX_HEAD_BYTES:
            self._limit()

    def on_message_begin(self) -> None:
        """Start the timer of a head."""
        super().on_message_begin()
        self._in_head = True
        self._wait()

    def on_headers_complete(self) -> None:
        """Check a head's size, and start the timer of the body. Raises Refusal."""
        if self._received + self.piece > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
                raise Refusal(431, f"at most {MAX_HEADERS} headers and {MAX_HEAD_BYTES} bytes of them")
        self._in_head = False
        self._wait()
        super().on_headers_complete()
        if self.acceptor.is_full and not self.upgrades:
            self.cycle.keep_alive = False

    def no_longer_due(self) -> None:
        """Wait for nothing any more."""
        self._due_s = None

    def on_message_complete(self) -> None:
        """Stop the timer: the request is complete."""
        self.no_longer_due()
        self._received = -self.piece  # on_parsed adds the whole piece
        super().on_message_complete()

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
        if self.flow.read_paused or self.owes_earlier:  # the server is the one that is late
            self._wait()
        elif self.loop.time() < self._due_s:
            self._timer = self.loop.call_at(self._due_s, self._look)
        elif self._in_head or self.owed > 0:
            self.refuse(408, f"the request was not complete within {self.client_timeout_s:g} s")
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


def _is_chunked(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" for name, _ in headers)
