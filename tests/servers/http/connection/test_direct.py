"""A task is answered alike with ASGI's messages and without, and a connection keeps its order."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI

from servers.errors import QueueFull
from servers.http.app import add_responder, create_app
from servers.http.connection.direct import DirectCycle
from servers.http.endpoints import RAG
from servers.http.exchange import Exchange, Reply
from servers.http.state import State
from servers.settings import Settings
from tests.servers.http.connection.test_pipelined import post
from tests.servers.http.test_app import Echo
from tests.servers.listening import listening, statuses

CLOSE = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Replies(Echo):
    """Replies with the body; `full` is refused, `parts` comes in two of them, `hang` does not come."""

    def __init__(self) -> None:
        super().__init__([])
        self.going_on = asyncio.Event()
        self.has_ended = asyncio.Event()
        self.is_late = asyncio.Event()

    def mount(self, app: FastAPI, state: State) -> None:
        add_responder(app, state, RAG, self.respond, request_timeout_s=20)

    async def respond(self, exchange: Exchange, body: bytes, deadline_s: float) -> Reply:
        if body == b"full":
            raise QueueFull("too busy", retry_after_s=7)
        if body == b"bug":
            raise KeyError("a secret")
        if body == b"hang":
            try:
                await asyncio.sleep(30)
            finally:
                self.has_ended.set()
        if body == b"late":
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(30)
            self.late_parts = self._parts(endless=False)  # kept here: no collector closes them
            await anext(self.late_parts)
            self.is_late.set()
            return Reply(200, b"", parts=self.late_parts)
        if body in (b"parts", b"endless"):
            parts = self._parts(endless=body == b"endless")
            return Reply(200, b"", ((b"content-type", b"text/event-stream"),), parts)
        return Reply(200, b"<%b>" % body)

    async def _parts(self, *, endless: bool) -> AsyncGenerator[bytes, None]:
        try:
            yield b"first"
            yield b""
            while endless:
                yield b"more"
                await asyncio.sleep(0.01)
            await self.going_on.wait()
            yield b"second"
        finally:
            self.has_ended.set()


@pytest.fixture
def replies() -> Replies:
    return Replies()


@pytest.fixture
def app(replies: Replies) -> Any:
    return create_app("it", Settings(api_key="key", max_body_bytes=1000), replies, State(ready=True, replica="r1"))


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The path of each request that is answered without ASGI's messages."""
    paths: list[str] = []
    before = DirectCycle.complete

    def complete(cycle: DirectCycle) -> None:
        paths.append(cycle._exchange.path)
        before(cycle)

    monkeypatch.setattr(DirectCycle, "complete", complete)
    return paths


def ask(body: bytes, headers: bytes = b"", *, key: bytes = b"key", chunk: int | None = None) -> bytes:
    given = b"Authorization: Bearer " + key + b"\r\nX-Request-Id: " + body[:9] + b"\r\n" + headers
    return post(b"/rag", body, given, chunk=chunk)


def parted(answer: bytes) -> tuple[bytes, set[bytes], bytes]:
    """Status line, headers and body of one answer; the headers that say how the connection goes on are left out."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return status, {line for line in lines if not line.startswith((b"connection", b"date"))}, body


@pytest.mark.parametrize("body", [b"hello", b"full", b"bug", b"x" * 1001])
@pytest.mark.parametrize("key", [b"key", b"none"])
async def test_an_answer_is_the_same_without_messages_and_with_them(
    app: Any, begun: list[str], body: bytes, key: bytes
) -> None:
    async with listening(app) as server:
        direct = await server.said(ask(body, key=key) + CLOSE)
        is_direct = begun == ["/rag"]
        others = [
            await server.said(ask(body, b"Connection: close\r\n", key=key)),
            await server.said(ask(body, key=key, chunk=7) + CLOSE),
        ]
    assert is_direct == (key == b"key" and len(body) <= 1000)
    assert begun == ["/rag"] * is_direct
    for other in others:
        assert parted(_first(other)) == parted(_first(direct))


async def test_requests_on_one_connection_are_answered_in_order_whoever_answers_them(
    app: Any, begun: list[str]
) -> None:
    async with listening(app) as server:
        sent = ask(b"a") + ask(b"b", chunk=1) + ask(b"full") + post(b"/nowhere", b"x") + ask(b"c") + ask(b"d") + CLOSE
        for said in (await server.said(sent), await server.said(*(bytes([byte]) for byte in sent))):
            assert re.findall(rb"<\w>", said) == [b"<a>", b"<b>", b"<c>", b"<d>"]
            assert statuses(said) == [200, 200, 429, 401, 200, 200, 200]
    assert len(begun) == 8


async def test_parts_are_sent_as_they_come_and_end_with_the_connection(app: Any, replies: Replies) -> None:
    async with listening(app) as server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(ask(b"parts") + CLOSE)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        assert await reader.readuntil(b"first\r\n") == b"5\r\nfirst\r\n"
        replies.going_on.set()
        assert (await reader.read()).startswith(b"6\r\nsecond\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n")
        writer.close()
        replies.has_ended.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(ask(b"endless"))
        await reader.readuntil(b"first\r\n")
        writer.transport.abort()
        writer.close()
        await replies.has_ended.wait()


@pytest.mark.parametrize("length", [4, 900])
async def test_whoever_hangs_up_is_not_waited_for(app: Any, replies: Replies, length: int) -> None:
    async with listening(app) as server, asyncio.timeout(10):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(ask(b"hang") + ask(b"a" * length))
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await replies.has_ended.wait()


@pytest.mark.parametrize("chunk", [None, 1])
async def test_parts_that_nobody_waits_for_any_more_are_closed(app: Any, replies: Replies, chunk: int | None) -> None:
    async with listening(app) as server, asyncio.timeout(10):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(ask(b"late", chunk=chunk))
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await replies.is_late.wait()
        await replies.has_ended.wait()


async def test_an_expected_continue_is_given(app: Any, begun: list[str]) -> None:
    async with listening(app) as server:
        said = await server.said(ask(b"a", b"Expect: 100-continue\r\n") + CLOSE)
        assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert begun == []


async def test_the_last_answer_of_a_server_that_drains_says_that_the_connection_closes(app: Any) -> None:
    async with listening(app) as server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(ask(b"hang"))
        while not server.protocols or server.protocols[-1].owed == 0:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        server.protocols[-1].shutdown()
        for task in tuple(server.protocols[-1].tasks):
            task.cancel()
        said = await reader.read()
        assert statuses(said) == [503]
        assert b"connection: close" in said
        with suppress(ConnectionError):
            writer.close()


def _first(answers: bytes) -> bytes:
    """The first of the answers."""
    head, _, rest = answers.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head)
    assert found is not None
    return head + b"\r\n\r\n" + rest[: int(found[1])]
