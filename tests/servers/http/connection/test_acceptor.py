"""The acceptor: no more connections than there is room for; the others wait in the backlog."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator

import pytest

from servers.http.connection.acceptor import Acceptor, allow_descriptors, room_for
from servers.tasks import Background


class Connection(asyncio.Protocol):
    """Says that it is in, and when it is gone."""

    def __init__(self, acceptor: Acceptor, *, is_idle: bool = False) -> None:
        self._acceptor = acceptor
        self._is_idle = is_idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._acceptor.opened(self, "127.0.0.1")
        transport.write(b"in\n")

    def close_if_idle(self) -> bool:
        if self._is_idle:
            self._transport.close()
        return self._is_idle

    def connection_lost(self, exc: Exception | None) -> None:
        self._acceptor.closed(self)


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


async def test_whoever_finds_it_crowded_waits_until_another_leaves(listener: socket.socket) -> None:
    async with Background() as background:
        acceptor = Acceptor(listener)
        acceptor.open(lambda: Connection(acceptor), background, most=2)
        streams = [await asyncio.open_connection(*listener.getsockname()) for _ in range(3)]
        assert [await reader.readline() for reader, _ in streams[:2]] == [b"in\n"] * 2
        assert acceptor.is_full
        third = asyncio.create_task(streams[2][0].readline())
        assert not (await asyncio.wait({third}, timeout=0.2))[0]
        streams[0][1].close()
        assert await asyncio.wait_for(third, 10) == b"in\n"
        for _, writer in streams[1:]:
            writer.close()
        acceptor.close()


async def test_once_it_has_closed_nobody_is_let_in(listener: socket.socket) -> None:
    async with Background() as background:
        acceptor = Acceptor(listener)
        await acceptor.wait_closed()  # it never opened
        acceptor.open(lambda: Connection(acceptor), background, most=2)
        acceptor.close()
        await acceptor.wait_closed()
        reader, writer = await asyncio.open_connection(*listener.getsockname())  # the kernel's queue takes it
        waiting = asyncio.create_task(reader.readline())
        assert not (await asyncio.wait({waiting}, timeout=0.2))[0]
        waiting.cancel()
        writer.close()


async def test_who_does_nothing_makes_room_the_oldest_first(listener: socket.socket) -> None:
    async with Background() as background:
        acceptor = Acceptor(listener)
        kinds = iter([False, True, True, False])
        acceptor.open(lambda: Connection(acceptor, is_idle=next(kinds)), background, most=3)
        streams = [await asyncio.open_connection(*listener.getsockname()) for _ in range(4)]
        assert await asyncio.wait_for(streams[3][0].readline(), 10) == b"in\n"
        assert [await reader.readline() for reader, _ in streams[:3]] == [b"in\n"] * 3
        assert await asyncio.wait_for(streams[1][0].read(), 10) == b""
        assert acceptor.is_full
        for _, writer in streams:
            writer.close()
            await writer.wait_closed()
        acceptor.close()


@pytest.mark.attack
async def test_one_address_has_no_more_connections_than_it_may(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    async with Background() as background:
        acceptor = Acceptor(listener, most_per_address=2)
        acceptor.open(lambda: Connection(acceptor), background, most=100)
        streams = [await asyncio.open_connection(*listener.getsockname()) for _ in range(5)]
        told = [await asyncio.wait_for(reader.readline(), 10) for reader, _ in streams]
        assert told == [b"in\n", b"in\n", b"", b"", b""]
        assert [record.getMessage() for record in caplog.records] == [
            "127.0.0.1 has 2 connections: no more are accepted from there"
        ]
        streams[0][1].close()
        while acceptor._per_network["127.0.0.1"] > 1:
            await asyncio.sleep(0.001)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        assert await asyncio.wait_for(reader.readline(), 10) == b"in\n"
        for _, each in [*streams, (reader, writer)]:
            each.close()
        acceptor.close()


@pytest.mark.parametrize(("most", "address", "is_limited"), [
    (None, "127.0.0.1", False), (None, "::1", False), (None, "192.0.2.1", True), (5000, "192.0.2.1", False),
    (3, "127.0.0.1", True),
])  # fmt: skip
def test_loopback_addresses_have_no_limit_of_their_own(
    most: int | None, address: str, is_limited: bool, listener: socket.socket
) -> None:
    acceptor = Acceptor(listener, most_per_address=most)
    for _ in range(4096):
        acceptor.opened(Connection(acceptor), address)
    assert acceptor._is_too_many((address, 1)) is is_limited


def test_an_ipv6_network_counts_as_one_address(listener: socket.socket) -> None:
    acceptor = Acceptor(listener, most_per_address=2)
    connections = [Connection(acceptor) for _ in range(2)]
    for connection, address in zip(connections, ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"), strict=True):
        assert not acceptor._is_too_many((address, 1))
        acceptor.opened(connection, address)
    assert acceptor._is_too_many(("2001:db8:0:1::3", 1))
    assert not acceptor._is_too_many(("2001:db8:0:2::1", 1))
    assert not acceptor._is_too_many(("::ffff:192.0.2.1", 1))
    acceptor.closed(connections[0])
    assert not acceptor._is_too_many(("2001:db8:0:1::3", 1))


async def test_descriptors_may_run_out(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Background() as background:
        acceptor, loop = Acceptor(listener), asyncio.get_running_loop()
        real, failures = loop.sock_accept, iter([OSError(24, "Too many open files")])

        async def accept(sock: socket.socket) -> tuple[socket.socket, object]:
            for error in failures:
                raise error
            return await real(sock)

        monkeypatch.setattr(loop, "sock_accept", accept)
        acceptor.open(lambda: Connection(acceptor), background, most=9)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        assert await asyncio.wait_for(reader.readline(), 10) == b"in\n"
        writer.close()
        acceptor.close()


def test_room_is_what_is_left_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1024, 4096))
    monkeypatch.setattr("os.listdir", lambda path: ["0"] * 20)
    assert (room_for(each=1), room_for(each=2)) == (980, 490)
    monkeypatch.setattr(resource, "getrlimit", lambda what: (30, 30))
    assert room_for(each=2) == 1


@pytest.mark.parametrize(
    ("limits", "wanted"), [((1024, 4096), (4096, 4096)), ((1024, -1), (65_536, -1)), ((4096, 4096), None)]
)
def test_the_limit_is_raised_to_what_is_allowed(
    limits: tuple[int, int], wanted: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda what, both: given.append(both))
    allow_descriptors()
    assert given == ([wanted] if wanted else [])
