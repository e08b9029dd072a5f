"""The socket that a server listens on, and the warning where anybody may use it."""

import asyncio
import socket

import pytest

from servers.serve import BindError, bind, warn_of_open_door
from servers.settings import Settings


async def test_accepted_connections_send_without_delay() -> None:
    """Otherwise an answer in two segments waits up to 40 ms for the client's delayed acknowledgement."""
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = bind("127.0.0.1", 0)
    async with await asyncio.start_server(connected, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await asyncio.wait_for(accepted, 5)
        writer.close()
        await writer.wait_closed()


def test_port_0_is_any_free_port_and_a_taken_one_is_one_clear_line() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert port > 0
        with pytest.raises(BindError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "key", "expected"),
    [
        ("127.0.0.1", None, False),
        ("localhost", None, False),
        ("::1", None, False),
        ("0.0.0.0", None, True),
        ("::", None, True),
        ("gpu-1", None, True),
        ("0.0.0.0", "key", False),
    ],
)
def test_an_open_door_is_warned_of(
    host: str, key: str | None, caplog: pytest.LogCaptureFixture, *, expected: bool
) -> None:
    warn_of_open_door(Settings(host=host, api_key=key))
    assert ("asks for no key: set RAG_API_KEY" in caplog.text) is expected
