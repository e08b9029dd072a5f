"""A replica that says it is ready and answers rubbish, in turns of five kinds. What the kinds are is decided here."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

_READY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"

KINDS: dict[str, Callable[[], bytes]] = {
    "random bytes": lambda: os.urandom(200),
    "half a head": lambda: b"HTTP/1.1 200 OK\r\nContent-Ty",
    "no JSON": lambda: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot JSON!",
    "truncated": lambda: b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"query": "',
    "500": lambda: b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}


@asynccontextmanager
async def rubbish() -> AsyncIterator[str]:
    """The URL of such a server, for as long as the block runs. Each connection is for one exchange."""
    kinds = itertools.cycle(KINDS.values())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(next(kinds)() if head.startswith(b"POST /rag") else _READY)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
