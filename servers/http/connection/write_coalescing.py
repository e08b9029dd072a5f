"""A transport that sends the parts of an answer in one write.

uvicorn writes an answer's headers and its body one after the other. That is two system calls, and two wake-ups of the
client, which on a shared core cost more than the rest of the exchange.
"""

import asyncio
from collections.abc import Callable
from typing import Any


class CoalescingTransport:
    """Buffers writes until the event loop has run its ready callbacks, and then sends them together."""

    def __init__(self, transport: asyncio.Transport, on_close: Callable[[], None]) -> None:
        self._transport = transport
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing  # called for every request: too often for __getattr__

    def write(self, data: bytes) -> None:
        """Buffer the bytes."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Send the buffer and close; `on_close` is called once."""
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
