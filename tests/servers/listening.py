"""Our protocol on a real socket in this process, with an application of the test's own, and raw exchanges with it."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from servers.http.connection.acceptor import Acceptor
from servers.http.connection.switching import SwitchingProtocol

DEADLINE_S = 30.0


class Listening:
    """A server on a free port of 127.0.0.1; `protocols` are those of all connections there were."""

    def __init__(self, app: Any, *, client_timeout_s: float = 20.0, max_body_bytes: int = 262_144) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            http=SwitchingProtocol,
            ws="none",
        )
        config.load()
        self.protocols: list[SwitchingProtocol] = []
        self.port = 0
        self.limits: dict[str, Any] = {"client_timeout_s": client_timeout_s, "max_body_bytes": max_body_bytes}
        self._config, self._state = config, ServerState()

    def protocol(self) -> SwitchingProtocol:
        made = SwitchingProtocol(config=self._config, server_state=self._state, app_state={}, **self.limits)
        self.protocols.append(made)
        return made

    @property
    def total_requests(self) -> int:
        """Answers that are out."""
        return self._state.total_requests

    async def said(self, *parts: bytes, eof: bool = False) -> bytes:
        """All that is answered to these bytes up to the end of the connection, which must come."""
        answers = b""
        async with asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            with suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                if eof:
                    writer.write_eof()
                while part := await reader.read(65_536):
                    answers += part
            writer.close()
        return answers


@asynccontextmanager
async def listening(app: Any, **limits: Any) -> AsyncIterator[Listening]:
    """The server for as long as the block runs."""
    served = Listening(app, **limits)
    server = await asyncio.get_running_loop().create_server(served.protocol, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    served.limits["acceptor"] = Acceptor(cast(socket.socket, server.sockets[0]))
    try:
        yield served
    finally:
        server.close()
        for protocol in served.protocols:
            if protocol.transport is not None:
                protocol.transport.abort()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the request's line and its body between angle brackets."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    text = f"<{scope['method']} {scope['path']} ".encode() + body + b">"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def echoes(answers: bytes) -> list[bytes]:
    """What `echo` has answered."""
    return re.findall(rb"<([^>]*)>", answers)
