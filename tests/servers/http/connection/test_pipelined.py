"""Requests on one connection: each ends where its sender says, few wait at a time, and each gets its own answer."""

import asyncio
import socket
from itertools import pairwise
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.http.connection.pipelined import MAX_AHEAD
from tests.servers.listening import DEADLINE_S, echo, echoes, listening, statuses

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "websocket": b"Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n",
    "two": b"Connection: Upgrade\r\nUPGRADE: foo\r\nUpgrade: bar\r\n",
}


def post(path: bytes, body: bytes, headers: bytes = b"", *, chunk: int | None = None) -> bytes:
    head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + headers
    if chunk is None:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    parts = [body[at : at + chunk] for at in range(0, len(body), chunk)]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + sent + b"0\r\n\r\n"


@pytest.mark.attack
@pytest.mark.parametrize("kind", UPGRADES)
@pytest.mark.parametrize("chunk", [None, 7])
async def test_the_body_of_a_request_with_an_upgrade_is_no_request(kind: str, chunk: int | None) -> None:
    async with listening(echo) as server:
        sent = post(b"/rag", HIDDEN, UPGRADES[kind], chunk=chunk)
        wanted = [b"POST /rag " + HIDDEN, b"GET /last "]
        assert echoes(await server.said(sent + LAST)) == wanted
        assert echoes(await server.said(*(bytes([byte]) for byte in sent), LAST)) == wanted
        assert echoes(await server.said(sent * 3 + LAST)) == [wanted[0]] * 3 + [b"GET /last "]


@pytest.mark.attack
async def test_a_request_without_a_body_and_with_an_upgrade_is_answered() -> None:
    async with listening(echo) as server:
        for headers in UPGRADES.values():
            sent = b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n"
            assert echoes(await server.said(sent + LAST)) == [b"GET /health ", b"GET /last "]
            old = sent.replace(b"1.1", b"1.0")
            assert echoes(await server.said(old + HIDDEN)) == [b"GET /health "]  # HTTP/1.0 keeps no connection


@pytest.mark.attack
async def test_limits_hold_for_a_request_with_an_upgrade() -> None:
    async with listening(echo, max_body_bytes=1000) as server:
        headers = UPGRADES["h2c"]
        assert statuses(await server.said(post(b"/", b"x" * 40_000, headers, chunk=1))) == [413]
        assert statuses(await server.said(post(b"/", b"", headers + b"X: " + b"x" * 17_000))) == [431]
        assert statuses(await server.said(post(b"/", b"", headers + b"X: x\r\n" * 101))) == [431]
        assert statuses(await server.said(post(b"/", HIDDEN, headers + b"Transfer-Encoding: x\r\n"))) == [400]


@pytest.mark.attack
async def test_what_follows_a_connect_is_no_request() -> None:
    async with listening(echo) as server:
        for target in (b"localhost:80", b"/", b"/rag"):
            sent = b"CONNECT " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
            assert statuses(await server.said(sent + HIDDEN))[0] in {400, 405}
            assert echoes(await server.said(LAST.replace(b"close", b"keep-alive") + sent + HIDDEN)) == [b"GET /last "]


def read_by_h11(sent: bytes) -> list[bytes]:
    """What another parser makes of it, as `echo` would answer."""
    connection, read = h11.Connection(h11.SERVER), []
    connection.receive_data(sent)
    while True:
        line, body = b"", b""
        while True:
            event = connection.next_event()
            if event in (h11.NEED_DATA, h11.PAUSED):
                return read
            if isinstance(event, h11.Request):
                line = event.method + b" " + event.target + b" "
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        read.append(line + body)
        connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is h11.MUST_CLOSE:
            return read
        connection.start_next_cycle()


REQUESTS = st.builds(
    post,
    st.sampled_from([b"/rag", b"/health"]),
    st.sampled_from([b"", HIDDEN, b"\r\n\r\n" * 9, b"0\r\n\r\n" + HIDDEN, b"{}"]),
    st.sampled_from([b"", *UPGRADES.values()]),
    chunk=st.sampled_from([None, 1, 30]),
)


@pytest.mark.attack
@given(st.lists(REQUESTS, max_size=12), st.lists(st.integers(0, 2000), max_size=4))
@settings(max_examples=60, deadline=None)
def test_two_parsers_see_the_same_requests_however_they_are_cut(requests: list[bytes], cuts: list[int]) -> None:
    sent = b"".join(requests) + LAST

    async def seen() -> list[bytes]:
        async with listening(echo) as server:
            places = [0, *sorted(cut for cut in cuts if cut < len(sent)), len(sent)]
            return echoes(await server.said(*(sent[a:b] for a, b in pairwise(places))))

    assert asyncio.run(seen()) == read_by_h11(sent)


class Gate:
    """Answers nobody before it is opened, and counts who asks."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        message = await receive()
        await self.opened.wait()

        async def received() -> Any:
            return message

        await echo(scope, received if not message["more_body"] else receive, send)


@pytest.mark.attack
async def test_no_more_than_a_handful_of_requests_is_taken_in_before_answers() -> None:
    gate = Gate()
    async with listening(gate) as server, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HIDDEN * 5000 + LAST)
        while not server.protocols or server.protocols[0].owed < MAX_AHEAD:
            await asyncio.sleep(0.001)
        protocol = server.protocols[0]
        assert (gate.asked, protocol.owed, len(protocol.pipeline)) == (1, MAX_AHEAD, MAX_AHEAD - 1)
        assert not protocol.transport.is_reading()
        gate.opened.set()
        most = 0
        answers = b""
        while part := await reader.read(65_536):
            most = max(most, protocol.owed)
            answers += part
        assert len(echoes(answers)) == 5001
        assert most <= MAX_AHEAD
        writer.close()


@pytest.mark.attack
async def test_a_body_that_is_wanted_does_not_end_the_pause() -> None:
    """A handler that waits for its client to hang up asks for more, and uvicorn resumes reading for it."""

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()  # the end of the connection, which does not come

    async with listening(watching) as server, asyncio.timeout(DEADLINE_S):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HIDDEN * 100_000)
        while not server.protocols or server.protocols[0].owed < MAX_AHEAD:
            await asyncio.sleep(0.001)
        for _ in range(100):
            await asyncio.sleep(0)
        assert server.protocols[0].owed == MAX_AHEAD
        assert not server.protocols[0].transport.is_reading()
        writer.transport.abort()


@pytest.mark.attack
async def test_a_connection_that_asks_much_leaves_others_their_turn() -> None:
    """While one sends thousands of requests, another is answered before a few hundred of them are even parsed."""
    async with listening(echo) as server, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        other_reader, other = await asyncio.open_connection("127.0.0.1", server.port)
        other.write(HIDDEN)
        await other_reader.readuntil(b">")
        flood = asyncio.create_task(reader.read())
        writer.write(HIDDEN * 5000 + LAST)
        other.write(HIDDEN)
        await other_reader.readuntil(b">")
        assert server.total_requests + server.protocols[0].owed < 300
        assert len(echoes(await flood)) == 5001
        for each in (writer, other):
            each.close()


@pytest.mark.attack
async def test_a_client_that_reads_nothing_is_cut_and_one_that_reads_slowly_is_not() -> None:
    text = b"x" * 10_000_000

    async def large(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    async with listening(large, client_timeout_s=0.3) as server, asyncio.timeout(DEADLINE_S):
        for sent in (HIDDEN * 5, LAST):  # kept, and closing
            with socket.create_connection(("127.0.0.1", server.port)) as never:
                never.sendall(sent)
                known = len(server.protocols)
                while len(server.protocols) == known or server.protocols[-1].parser is not None:
                    await asyncio.sleep(0.01)
    async with listening(large, client_timeout_s=1000) as server, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=4096)
        writer.write(HIDDEN * 5)
        await reader.readexactly(100_000)
        for _ in range(3):  # as the timer would
            before = server.protocols[0].transport.get_write_buffer_size()
            while before - server.protocols[0].transport.get_write_buffer_size() < 50_000:
                await reader.readexactly(1000)
            server.protocols[0]._cut_unless_read()
        await reader.readexactly(100_000)
        writer.close()


async def test_a_half_closed_client_gets_its_answers() -> None:
    gate = Gate()
    async with listening(gate) as server:
        asking = asyncio.create_task(server.said(HIDDEN * 3, post(b"/rag", b"{}") + HIDDEN[:20], eof=True))
        while not server.protocols or not server.protocols[0].is_last:
            await asyncio.sleep(0.001)
        gate.opened.set()
        answers = await asking
        assert echoes(answers) == [b"GET /hidden "] * 3 + [b"POST /rag {}"]
        assert set(statuses(answers)) <= {100, 200}
        assert await server.said(b"", eof=True) == b""
        assert await server.said(HIDDEN[:20], eof=True) == b""


@pytest.mark.parametrize("ahead", [0, 1, 3])
async def test_a_client_that_closes_ends_its_request(ahead: int) -> None:
    """It closes both halves, which looks like one that sends no more, and its reset comes only with our next word."""
    seen: list[str] = []
    ended = asyncio.Event()

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.append("asked")
        seen.append((await receive())["type"])
        ended.set()

    async with listening(waiting) as server, asyncio.timeout(DEADLINE_S):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HIDDEN * (1 + ahead))
        while not seen:
            await asyncio.sleep(0.001)
        writer.close()
        await ended.wait()
        assert seen == ["asked", "http.disconnect"]


async def test_good_requests_before_rubbish_are_answered_first() -> None:
    gate = Gate()
    async with listening(gate, client_timeout_s=0.3) as server:
        gate.opened.set()
        for rubbish, status in (
            (b"rubbish\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
            (b"GET /" + b"a" * 17_000, 431),
            (b"CONNECT localhost:80 HTTP/1.1\r\n\r\n", 405),
            (HIDDEN[:20], 408),
            (post(b"/", b"{}")[:-1], 408),
        ):
            answers = await server.said(HIDDEN * 20 + rubbish)
            assert (statuses(answers), len(echoes(answers))) == ([200] * 20 + [status], 20), rubbish[:40]


@pytest.mark.attack
async def test_empty_lines_without_end_are_refused() -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    async with listening(echo) as server:
        assert statuses(await server.said(*([b"\r\n" * 32_000] * 40))) in ([431], [])  # it is reset, as it sends on
        assert echoes(await server.said(b"\r\n" * 10 + LAST)) == [b"GET /last "]
    assert problems == []
