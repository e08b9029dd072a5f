"""The framed link, both ends on a real socket: whole answers, answers in parts, requests given up, a link that ends."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from fastapi import FastAPI

from servers.fleet.asking.link import Answer, LinkLost, Links
from servers.fleet.replica import Replica
from servers.http.app import add_responder
from servers.http.connection.frames import PATH, PROTOCOL, WINDOW_BYTES, Kind, frame, packed, size
from servers.http.endpoints import RAG
from servers.http.exchange import Exchange, Reply
from servers.http.middleware import Front
from servers.http.state import State
from servers.settings import Settings
from tests.servers.listening import Listening, listening, statuses

KEY = "sesame"
LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def upgrade(key: str = KEY, *, path: bytes = PATH) -> bytes:
    lines = (b"Connection: Upgrade", b"Upgrade: " + PROTOCOL, b"Authorization: Bearer " + key.encode())
    return b"\r\n".join([b"GET %b HTTP/1.1" % path, b"Host: localhost", *lines, b"", b""])


def ask(number: int, body: bytes = b"{}", *, path: bytes = b"/rag") -> bytes:
    return frame(Kind.ASK, number, packed([(b":path", path)], body))


class Service:
    """A task that answers as the body of a request says, and notes what it was asked."""

    def __init__(self) -> None:
        self.seen: list[Exchange] = []
        self.ended: list[str] = []
        self.sent = 0
        self.may_go_on = asyncio.Event()
        self.has_begun = asyncio.Event()

    async def respond(self, exchange: Exchange, body: bytes, deadline_s: float) -> Reply:
        self.seen.append(exchange)
        self.has_begun.set()
        if body == b"parts":
            return Reply(200, b"", ((b"content-type", b"text/event-stream"),), self._parts())
        if body == b"flood":
            return Reply(200, b"", (), self._flood())
        if body == b"breaks":
            return Reply(200, b"", (), self._breaks())
        try:
            if body == b"waits":
                await self.may_go_on.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        return Reply(200, b'{"result": "%b"}' % body)

    async def _parts(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"first"
            await self.may_go_on.wait()
            yield b"last"
        finally:
            self.ended.append("parts")

    async def _flood(self) -> AsyncGenerator[bytes, None]:
        for _ in range(1000):
            self.sent += 10_000
            yield b"x" * 10_000

    async def _breaks(self) -> AsyncGenerator[bytes, None]:
        yield b"first"
        raise RuntimeError("a fault")


@asynccontextmanager
async def served(service: Service, *, max_body_bytes: int = 262_144) -> AsyncIterator[Listening]:
    app, state = FastAPI(), State(ready=True, replica="2")
    add_responder(app, state, RAG, service.respond, request_timeout_s=20.0)
    front = Front(app, Settings(link_key=KEY, api_key="client's"), state)
    async with listening(front, max_body_bytes=max_body_bytes) as server:
        yield server


@asynccontextmanager
async def linked(service: Service) -> AsyncIterator[Callable[..., "asyncio.Future[Answer]"]]:
    async with served(service) as server:
        links, replica = Links(KEY), Replica(f"http://127.0.0.1:{server.port}")

        def asking(body: bytes, **headers: str) -> "asyncio.Future[Answer]":
            return asyncio.ensure_future(links.ask(replica, "/rag", body, headers))

        yield asking
        links.close()
        await asyncio.sleep(0.01)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_many_requests_share_a_link_and_each_gets_its_own_answer() -> None:
    service = Service()
    async with linked(service) as asking:
        waiting = asking(b"waits")
        answers = await asyncio.gather(*(asking(b"%d" % number) for number in range(200)))
        assert [answer.body for answer in answers] == [b'{"result": "%d"}' % number for number in range(200)]
        assert not waiting.done()
        service.may_go_on.set()
        assert (await waiting).status == 200


async def test_fields_reach_the_task_and_its_headers_come_back() -> None:
    service = Service()
    async with linked(service) as asking:
        answer = await asking(b"1", **{"X-Request-Id": "mine", "traceparent": "00-1"})
        assert service.seen[0].request_id == "mine"
        assert service.seen[0].headers[b"traceparent"] == b"00-1"
        assert dict(answer.fields)[b"x-request-id"] == b"mine"
        assert dict(answer.fields)[b"x-replica"] == b"2"
        late = await asking(b"waits", **{"X-Request-Timeout-S": "0.02"})
        assert late.status == 504


async def test_a_request_that_is_given_up_is_cancelled_at_the_replica_and_its_neighbours_are_not() -> None:
    service = Service()
    async with linked(service) as asking:
        given_up, kept = asking(b"waits"), asking(b"waits")
        await until(lambda: len(service.seen) == 2)
        given_up.cancel()
        await until(lambda: service.ended)
        service.may_go_on.set()
        assert (await kept).status == 200
        assert service.ended == ["cancelled"]


async def test_parts_come_as_they_are_made_and_closing_them_stops_the_replica() -> None:
    service = Service()
    async with linked(service) as asking:
        for is_read in (True, False):
            answer = await asking(b"parts")
            assert answer.parts is not None
            parts = answer.parts.each()
            assert [await anext(parts), await anext(parts)] == [b"", b"first"]
            if is_read:
                service.may_go_on.set()
                assert [part async for part in parts] == [b"last"]
                service.may_go_on.clear()
            else:
                await parts.aclose()
            await until(lambda: service.ended == ["parts"])
            service.ended.clear()


async def test_a_reader_that_takes_nothing_holds_the_replica_back() -> None:
    service = Service()
    async with linked(service) as asking:
        answer = await asking(b"flood")
        assert answer.parts is not None
        await asyncio.sleep(0.1)
        assert WINDOW_BYTES <= service.sent <= WINDOW_BYTES + 20_000
        assert (await asking(b"1")).status == 200
        assert sum([len(part) async for part in answer.parts.each()]) == 10_000_000


async def test_parts_that_break_off_are_no_whole_answer() -> None:
    service = Service()
    async with linked(service) as asking:
        answer = await asking(b"breaks")
        assert answer.parts is not None
        with pytest.raises(LinkLost, match="broke off"):
            _ = [part async for part in answer.parts.each()]


async def test_a_replica_that_ends_fails_what_it_held_and_is_asked_by_a_new_link_when_it_is_back() -> None:
    service = Service()
    async with served(service) as server:
        links, replica = Links(KEY), Replica(f"http://127.0.0.1:{server.port}")
        held = [asyncio.ensure_future(links.ask(replica, "/rag", body, {})) for body in (b"waits", b"parts")]
        answer = await held[1]
        assert answer.parts is not None
        await until(lambda: len(service.seen) == 2)
        server.protocols[0].transport.abort()
        with pytest.raises(LinkLost):
            await held[0]
        with pytest.raises(LinkLost):
            _ = [part async for part in answer.parts.each()]
        await until(lambda: sorted(service.ended) == ["cancelled", "parts"])
        assert (await links.ask(replica, "/rag", b"1", {})).status == 200
        assert len(server.protocols) == 2
        links.close()


async def test_a_drain_closes_a_link_after_the_answers_that_are_due() -> None:
    service = Service()
    async with served(service) as server:
        links, replica = Links(KEY), Replica(f"http://127.0.0.1:{server.port}")
        held = asyncio.ensure_future(links.ask(replica, "/rag", b"waits", {}))
        await service.has_begun.wait()
        server.protocols[0].shutdown()
        service.may_go_on.set()
        assert (await held).status == 200
        await until(server.protocols[0].transport.is_closing)
        links.close()


async def test_where_no_link_is_opened_the_request_fails_in_time() -> None:
    service = Service()
    async with served(service) as server:
        with pytest.raises(LinkLost, match="opens no link"):
            await Links("another").ask(Replica(f"http://127.0.0.1:{server.port}"), "/rag", b"1", {})
    with pytest.raises(ConnectionRefusedError):
        await Links(KEY).ask(Replica(f"http://127.0.0.1:{server.port}"), "/rag", b"1", {})
    assert service.seen == []


@pytest.mark.attack
@pytest.mark.parametrize(
    "opening", [upgrade("wrong"), upgrade("client's"), upgrade(path=b"/rag"), upgrade().replace(b"GET", b"POST")]
)
async def test_without_the_fleets_key_an_upgrade_is_a_request_and_frames_are_none(opening: bytes) -> None:
    service = Service()
    async with served(service) as server:
        answers = await server.said(opening + ask(1))
        assert statuses(answers)[0] in (401, 404, 405)
        assert b" 101 " not in answers
        assert service.seen == []


@pytest.mark.attack
async def test_a_request_behind_an_upgrade_without_the_key_is_read_as_http() -> None:
    async with served(Service()) as server:
        assert statuses(await server.said(upgrade("wrong") + LAST)) == [401, 404]


@pytest.mark.attack
@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 9,
        frame(Kind.ASK, 1),
        frame(Kind.ASK, 1, b"\0\0\0\x09abc"),
        ask(1, path=b"/metrics"),
        ask(1, b"waits") + ask(1, b"waits"),
        ask(1, b"waits") + frame(Kind.REPLY, 1),
        ask(1, b"waits") + frame(Kind.MORE, 1, b"1"),
        ask(1, b"x" * 400_000),
        LAST,
    ],
)
async def test_what_is_no_frame_ends_the_link_and_nothing_else(sent: bytes) -> None:
    service = Service()
    async with served(service) as server:
        with suppress(ConnectionError):
            assert (await server.said(upgrade() + sent)).count(b" 101 ") <= 1
        assert (await server.said(upgrade() + ask(7, b"1"), eof=True)).startswith(b"HTTP/1.1 101 ")


async def test_frames_may_come_byte_by_byte_with_the_upgrade() -> None:
    service = Service()
    async with served(service) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for byte in upgrade() + ask(1, b"1") + frame(Kind.CANCEL, 9) + frame(Kind.MORE, 9, size(1)) + ask(2, b"2"):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        answers = b""
        async with asyncio.timeout(10):
            while answers.count(b"result") < 2:
                answers += await reader.read(65_536)
        writer.close()
        assert b'{"result": "1"}' in answers
        assert b'{"result": "2"}' in answers
