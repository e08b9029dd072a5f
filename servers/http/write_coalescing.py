"""uvicorn's HTTP protocol with the parts of an answer sent in one piece. Parses and decides nothing.

uvicorn writes an answer's headers and its body one after the other: two system calls for us, and for the client two
times of being woken, which on a shared core cost more than the rest of the exchange.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["CorkedProtocol"]


class _Corked:
    """A transport that keeps what is written until the loop has run what is ready now, and then sends it together."""

    def __init__(self, transport: asyncio.Transport, on_close: Callable[[], None]) -> None:
        self._transport = transport
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing  # asked for with every request: too often for __getattr__

    def write(self, data: bytes) -> None:
        """Keep it, for the moment."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Close when everything is sent."""
        self._send()
        if not self._transport.is_closing():
            self._transport.close()
            self._on_close()

    def _send(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class CorkedProtocol(HttpToolsProtocol):
    """uvicorn's protocol on a corked transport."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        # asyncio calls it with what TCP gives, and ours has all that this has.
        corked = _Corked(cast(asyncio.Transport, transport), self.close_begins)
        super().connection_made(cast(asyncio.Transport, corked))

    def close_begins(self) -> None:
        """The connection ends as soon as the client has read what was sent, and not before."""
