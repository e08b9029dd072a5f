"""A real server against raw connections: too much, too slow, or no HTTP at all."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.servers.running import QUESTION, running

STUB = ["--profile", "stub", "--engine", "thread"]
BODY = b'{"query": "x"}'
GOOD = b"POST /rag HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n" + BODY
LIMIT_S = 10.0


@asynccontextmanager
async def serving(folder: Path, *flags: str) -> AsyncIterator[tuple[int, httpx.AsyncClient]]:
    async with running(folder, "batched", *STUB, "--max-body-bytes", "1000", *flags) as (server, client):
        yield int(server.url.rsplit(":", 1)[1]), client
        assert (await client.post("/rag", json=QUESTION)).status_code == 200
        assert (await client.get("/health")).status_code == 200


async def told(port: int, *parts: bytes, eof: bool = False) -> bytes:
    """All that is said to these bytes, up to the end of the connection, which must come."""
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0)
            if eof:
                writer.write_eof()
            return await reader.read()
        except ConnectionError:
            return b"reset"
        finally:
            writer.close()


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def head(*headers: str, line: str = "POST /rag HTTP/1.1") -> bytes:
    return "\r\n".join([line, "Host: localhost", *headers, "", ""]).encode("latin-1")


CLOSE = "Connection: close"
CHUNKED = "Transfer-Encoding: chunked"
ODD: dict[str, tuple[int, Sequence[bytes]]] = {
    "the rules kept": (200, [head("Content-Length: 14", CLOSE) + BODY]),
    "chunks": (200, [head(CHUNKED, CLOSE), b"7\r\n" + BODY[:7] + b"\r\n", b"7\r\n" + BODY[7:] + b"\r\n0\r\n\r\n"]),
    "HEAD": (200, [head(CLOSE, line="HEAD /health HTTP/1.1")]),
    "HTTP/1.0": (200, [head("Content-Length: 14", line="POST /rag HTTP/1.0") + BODY]),
    "chunks over the limit": (413, [head(CHUNKED, CLOSE), b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"]),
    "a length over the limit": (413, [head("Content-Length: 1001", CLOSE) + b"x" * 1001]),
    "a length of 80 bits": (400, [head(f"Content-Length: {2**80}")]),
    "a negative length": (400, [head("Content-Length: -1")]),
    "no length": (422, [head(CLOSE)]),
    "a length that is no number": (400, [head("Content-Length: ten")]),
    "a length with a sign": (400, [head("Content-Length: +14") + BODY]),
    "two lengths": (400, [head("Content-Length: 14", "Content-Length: 2") + BODY]),
    "a list of lengths": (400, [head("Content-Length: 14, 14") + BODY]),
    "length and chunks": (400, [head("Content-Length: 5", CHUNKED) + b"0\r\n\r\nGET /info HTTP/1.1\r\n\r\n"]),
    "chunks and length": (400, [head(CHUNKED, "Content-Length: 5") + b"0\r\n\r\nGET /info HTTP/1.1\r\n\r\n"]),
    "an unknown encoding": (400, [head("Transfer-Encoding: xchunked") + b"0\r\n\r\n"]),
    "chunks not last": (400, [head("Transfer-Encoding: chunked, identity") + b"0\r\n\r\n"]),
    "a chunk that is no number": (400, [head(CHUNKED) + b"zz\r\n"]),
    "a space before the colon": (400, [head("Content-Length : 14") + BODY]),
    "a folded header": (400, [head("X-A: a\r\n b", "Content-Length: 14") + BODY]),
    "a bare line feed": (400, [b"POST /rag HTTP/1.1\nHost: x\n\n"]),
    "a zero byte": (400, [head("X-A: a\0b")]),
    "no HTTP": (400, [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9]),
    "HTTP/2": (400, [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]),
    "a head in one piece that is too large": (431, [head("X-A: " + "a" * 20_000)]),
    "a head that does not end": (431, [b"GET /health HTTP/1.1\r\nX-A: ", b"a" * 17_000]),
    "a path that does not end": (431, [b"GET /" + b"a" * 17_000]),
    "too many headers": (431, [head(*["X-A: a"] * 101)]),
    "headers after the chunks": (413, [head(CHUNKED), b"0\r\nX-A: " + b"a" * 25_000]),
}


@pytest.mark.slow
async def test_each_request_of_odd_form_has_its_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as (port, _):
        seen = {name: statuses(await told(port, *parts)) for name, (_, parts) in ODD.items()}
        assert seen == {name: [status] for name, (status, _) in ODD.items()}
        assert "Traceback" not in (tmp_path / "batched.log").read_text()


@pytest.mark.slow
async def test_a_hundred_headers_and_a_long_head_are_well(tmp_path: Path) -> None:
    async with serving(tmp_path) as (port, _):
        many = head(*["X-A: a"] * 97, CLOSE, line="GET /health HTTP/1.1")
        long = head("X-A: " + "a" * 16_000, CLOSE, line="GET /health HTTP/1.1")
        assert [statuses(await told(port, part)) for part in (many, long)] == [[200], [200]]


@pytest.mark.slow
async def test_requests_one_after_the_other_are_each_judged_alone(tmp_path: Path) -> None:
    """Tens of thousands of bytes in one go, of which no request has many; the last one comes in two parts."""
    async with serving(tmp_path) as (port, _), asyncio.timeout(LIMIT_S):
        last = head("Content-Length: 14", CLOSE) + BODY
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GOOD * 600 + last[:30])
        first = await reader.readuntil(b"}}")
        writer.write(last[30:])
        assert statuses(first + await reader.read()) == [200] * 601
        writer.close()


@pytest.mark.slow
async def test_a_client_that_leaves_in_mid_body_is_no_bug(tmp_path: Path) -> None:
    async with serving(tmp_path, "--log-level", "debug") as (port, client):
        for request in ("POST /rag HTTP/1.1", "POST /nowhere HTTP/1.1"):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head("Content-Length: 14", line=request) + BODY[:5])
            await writer.drain()
            await client.get("/health")  # by then it has been read
            writer.transport.abort()
        await client.get("/health")
        log = (tmp_path / "batched.log").read_text()
        assert "the client closed the connection before its body was complete" in log
        assert "Traceback" not in log


async def trickle(port: int, start: bytes, byte: bytes) -> bytes:
    """A byte every twentieth of a second until the server has had enough; what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = asyncio.create_task(reader.read())
    writer.write(start)
    try:
        while not (await asyncio.wait({said}, timeout=0.05))[0]:
            writer.write(byte)
        return said.result()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.slow
async def test_fifty_slow_clients_are_sent_away_while_a_good_one_is_served(tmp_path: Path) -> None:
    async with serving(tmp_path, "--client-timeout-s", "0.3") as (port, client), asyncio.timeout(2 * LIMIT_S):
        heads = [trickle(port, b"POST /rag HTTP/1.1\r\n", b"X-A: a\r\n") for _ in range(30)]
        bodies = [trickle(port, head("Content-Length: 900"), b"x") for _ in range(20)]
        slow = asyncio.gather(*heads, *bodies)
        while not slow.done():
            assert (await client.post("/rag", json=QUESTION)).status_code == 200
        # A client that is still sending when it is sent away may be reset before it has read why.
        assert [said for said in slow.result() if statuses(said) not in ([408], [])] == []


@pytest.mark.slow
async def test_a_connection_that_says_nothing_is_closed_and_an_idle_one_is_kept(tmp_path: Path) -> None:
    async with serving(tmp_path, "--client-timeout-s", "0.3") as (port, _), asyncio.timeout(2 * LIMIT_S):
        kept, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GOOD)
        await kept.readuntil(b"}}")
        assert await told(port) == b""  # has waited for the end
        assert await trickle(port, b"", b"\r\n") == b""
        writer.write(GOOD)
        assert statuses(await kept.readuntil(b"}}")) == [200]
        writer.close()


@pytest.mark.slow
async def test_an_answer_may_take_longer_than_a_client_may(tmp_path: Path) -> None:
    """Two questions at once, the second in part: that waits for as long as the first is under way, and no longer."""
    flags = ["--client-timeout-s", "0.2", "--policy", "size_or_age", "--max-wait-s", "1.0"]
    async with serving(tmp_path, *flags) as (port, _):
        assert statuses(await told(port, GOOD, GOOD[:30])) == [200, 408]


@pytest.mark.slow
async def test_an_id_that_is_unfit_for_a_header_is_not_sent_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as (port, _):

        async def echoed(sent: str) -> bytes:
            answer = await told(port, head(f"X-Request-Id: {sent}", CLOSE, line="GET /health HTTP/1.1"))
            found = re.search(rb"(?i)\r\nx-request-id: ([^\r]*)\r\n", answer)
            assert found is not None
            return found[1]

        assert await echoed("a b~1") == b"a b~1"
        for sent in ("a\tb", "x" * 129, "caf\xe9", ""):
            assert re.fullmatch(rb"[0-9a-f]{32}", await echoed(sent))
