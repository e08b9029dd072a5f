"""A replica that answers oddly: its answer is never passed on while another one stands by."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from policies.routing import round_robin
from servers.errors import Unavailable
from servers.fleet.balancer import Balancer, Tries
from servers.fleet.replica import Replica, Roster
from servers.http.exchange import Reply

pytestmark = pytest.mark.attack

Start = Callable[[bytes], Awaitable[Replica]]
GOOD = b'{"result": "good"}'
JSON = b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def answer(body: bytes = b'{"result": "odd"}', headers: bytes = JSON, *, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, headers, len(body), body)


ODD = {
    "a header beyond latin-1": answer(headers=JSON + "X-Replica: \u2026\r\n".encode()),
    "a header in latin-1": answer(headers=JSON + b"Server-Timing: \xe4\r\n"),
    "a header of bytes": answer(headers=JSON + b"X-Batch-Close: \xff\xfe\r\n"),
    "a control character": answer(headers=JSON + b"X-Replica: a\x01b\r\n"),
    "a delete": answer(headers=JSON + b"X-Replica: a\x7fb\r\n"),
    "an odd content type": answer(headers=b"Content-Type: application/json; x=\xc3\xa4\r\n"),
    "an odd Retry-After": answer(headers=JSON + b"Retry-After: \xff\r\n", status=b"429 Too Many Requests"),
    "a list": answer(b"[]"),
    "NaN": answer(b"NaN"),
    "NaN inside": answer(b'{"result": "odd", "score": NaN}'),
    "an infinity": answer(b'{"result": "odd", "score": -Infinity}'),
    "null": answer(b"null"),
    "a text": answer(b'"odd"'),
    "a number": answer(b"1"),
    "no result": answer(b"{}"),
    "a result of another kind": answer(b'{"result": ["odd"]}'),
    "latin-1": answer(b'{"result": "\xe4"}'),
    "utf-16": answer('{"result": "odd"}'.encode("utf-16")),
    "a refusal in rubbish": answer(b"NaN", status=b"422 Unprocessable Entity"),
    "compressed": answer(headers=JSON + b"Content-Encoding: gzip\r\n"),
    "cut off without a length": b"HTTP/1.1 200 OK\r\n" + JSON + b'\r\n{"result": "od',
    "nothing, without a length": b"HTTP/1.1 200 OK\r\n" + JSON + b"\r\n",
    "events without a length": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: od",
    "a long answer without a length": b"HTTP/1.1 200 OK\r\n" + JSON + b'\r\n{"result": "' + b"x" * 1_200_000,
    "a page in chunks": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + CHUNKED + b"1\r\nx\r\n0\r\n\r\n",
    "chunks that are cut off": b"HTTP/1.1 200 OK\r\n"
    + JSON
    + b'Transfer-Encoding: chunked\r\n\r\nf\r\n{"result": "odd',
    "many interim answers": b"HTTP/1.1 102 Processing\r\n\r\n" * 9 + answer(),
    "an upgrade": answer(headers=JSON + b"Connection: upgrade\r\nUpgrade: h2c\r\n", status=b"101 Switching"),
}

WHOLE = {
    "no length": b"HTTP/1.1 200 OK\r\n" + JSON + b"\r\n" + GOOD,
    "chunks": b"HTTP/1.1 200 OK\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n12\r\n" + GOOD + b"\r\n0\r\n\r\n",
    "some interim answers": b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + answer(GOOD),
}


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a replica that answers every request with these bytes and closes."""
    servers = []

    async def begin(says: bytes) -> Replica:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(says)
                await writer.drain()
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        servers.append(server)
        return Replica(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", state="ready")

    yield begin
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def balanced() -> AsyncIterator[tuple[Balancer, Roster]]:
    roster = Roster()
    balancer = Balancer(roster, round_robin, tries=Tries(timeout_s=60.0))
    await balancer.client.open()
    yield balancer, roster
    await balancer.client.close()


async def ask(balancer: Balancer) -> Reply:
    deadline_s = asyncio.get_running_loop().time() + 60.0
    return await balancer.forward("/rag", b"", {"X-Request-Id": "1"}, deadline_s=deadline_s)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ODD)
async def test_an_odd_answer_is_not_passed_on(kind: str, start: Start, balanced: tuple[Balancer, Roster]) -> None:
    balancer, roster = balanced
    roster.add(await start(ODD[kind]))
    with pytest.raises(Unavailable):
        await ask(balancer)
    roster.add(await start(answer(GOOD, JSON + b"Connection: close\r\n")))
    assert [(await ask(balancer)).body for _ in range(3)] == [GOOD] * 3


@pytest.mark.parametrize("kind", WHOLE)
async def test_a_whole_answer_is_passed_on_however_it_comes(
    kind: str, start: Start, balanced: tuple[Balancer, Roster]
) -> None:
    balancer, roster = balanced
    roster.add(await start(WHOLE[kind]))
    reply = await ask(balancer)
    assert (reply.status, reply.body) == (200, GOOD)


@pytest.mark.slow
async def test_a_flood_of_interim_answers_is_not_read(balanced: tuple[Balancer, Roster]) -> None:
    balancer, roster = balanced
    most, sent = 2_000, 0
    has_ended = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        try:
            while sent < most:  # 50 MB
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)
                await writer.drain()
                sent += 1
        except ConnectionError:
            pass
        finally:
            writer.close()
            has_ended.set()

    async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
        roster.add(Replica(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", state="ready"))
        with pytest.raises(Unavailable):
            await ask(balancer)
        await has_ended.wait()
    assert sent < most


async def test_what_a_replica_says_of_itself_is_read_within_bounds(
    start: Start, balanced: tuple[Balancer, Roster]
) -> None:
    balancer, _ = balanced
    for says in (b'{"a": "' + b"x" * 2_000_000 + b'"}', b"[]", b"[" * 100_000, b"\xff"):
        assert await balancer.client.info((await start(answer(says))).url) == {}
    assert await balancer.client.info((await start(answer(b'{"a": 1}'))).url) == {"a": 1}
