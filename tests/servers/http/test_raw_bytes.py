"""Bytes of every kind on a running server's port, by hypothesis: no 5xx, no traceback, nobody gets another's answer.

Good requests with an id and a question of their own stand between rubbish, on one connection, in one write.
"""

import asyncio
import json
import re
import select
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers.running import running

EXAMPLES = 150
STATUSES = {200, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 421, 422, 426, 429, 431, 501, 505}
"""What any bytes may be answered with: 501 and 505 for what we do not speak, and no other 5xx."""
HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")


def good(number: int) -> bytes:
    """A request whose answer says whose it is."""
    body = json.dumps({"query": f"question {number}"}).encode()
    head = f"POST /rag HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: id-{number}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
LINES = st.sampled_from(
    [
        UPGRADE,
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: +5\r\n",
        b"Expect: 100-continue\r\n",
        b" folded: yes\r\n",
        b"Connection: close\r\n",
        b"X-Request-Id: another\r\n",
        b"Host: elsewhere.example\r\n",
        b"Origin: http://elsewhere.example\r\n",
        b"\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
    ]
)
STARTS = st.sampled_from(
    [
        *(b"GET /health HTTP/1.1\r\n", b"GET /rag HTTP/1.1\r\n", b"PUT /rag HTTP/1.1\r\n", b"HEAD /ready HTTP/1.1\r\n"),
        *(b"POST /rag HTTP/1.0\r\n", b"POST /rag HTTP/2.0\r\n", b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n", b"\x16\x03\x01"),
        *(b"OPTIONS * HTTP/1.1\r\n", b"POST /rag%0A HTTP/1.1\r\n", b"GET http://elsewhere.example/rag HTTP/1.1\r\n"),
        *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST /%ff%00 HTTP/1.1\r\n"),
    ]
)
MADE = st.builds(
    lambda start, lines, body: start + b"".join(lines) + b"\r\n" + body,
    STARTS,
    st.lists(LINES, max_size=4),
    st.binary(max_size=40),
)
DAMAGED = st.builds(
    lambda number, place, bytes_, cut: good(number)[: place % 150] + bytes_ + good(number)[place % 150 + cut :],
    st.integers(900, 999),
    st.integers(0, 150),
    st.binary(max_size=6) | LINES,
    st.integers(0, 20),
)
HIDDEN = range(500, 600)
"""Numbers of requests that are another one's body: nobody may answer them."""


def hiding(number: int, line: bytes) -> list[bytes]:
    """A request whose body is a request, in two writes."""
    body = good(number)
    return [b"POST /rag HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n%s\r\n" % (len(body), line), body]


SMUGGLING = st.builds(hiding, st.sampled_from(HIDDEN), st.just(UPGRADE) | LINES)
PIECES = st.lists(st.one_of(*[st.integers(0, 99)] * 2, st.binary(max_size=60), MADE, DAMAGED, SMUGGLING), max_size=8)


def exchanged(address: tuple[str, int], writes: Sequence[bytes]) -> bytes:
    """All that comes back until the server closes, after we have said all we have to say, each a packet of its own."""
    came = b""
    with socket.create_connection(address, timeout=20) as connection:
        try:
            for data in writes:
                connection.sendall(data)
                select.select([], [], [], 0.002)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                came += part
        except TimeoutError:
            raise  # neither an answer nor an end within the time of the socket
        except OSError:
            pass  # it was cut in the middle of what we said
    return came


def answers(came: bytes) -> list[tuple[int, bytes, bytes]]:
    """(status, head, body) of each; what cannot be read as answers fails."""
    found = []
    while came:
        head = HEAD.match(came)
        assert head, came[:200]
        status, lines = int(head[1]), head[2]
        length = re.search(rb"(?im)^content-length: *(\d+)\r$", lines)
        rest = came[head.end() :]
        size = int(length[1]) if length else 0
        is_bodiless = status < 200 or status == 304 or not rest.startswith((b"{", b"[", b'"'))
        size = 0 if is_bodiless else size
        assert len(rest) >= size, "half an answer"
        found.append((status, lines, rest[:size]))
        came = rest[size:]
    return found


def check(address: tuple[str, int], pieces: list[int | bytes | list[bytes]]) -> None:
    """One connection; what follows each other and hides nothing is one write."""
    writes = [b""]
    for piece in pieces:
        if isinstance(piece, list):
            writes[-1] += piece[0]
            writes += piece[1:]
        else:
            writes[-1] += good(piece) if isinstance(piece, int) else piece
    for status, lines, body in answers(exchanged(address, writes)):
        assert status in STATUSES or status == 100, (status, lines, body)
        if status == 200 and body.startswith(b'{"query"'):
            told = json.loads(body)["query"]
            request_id = re.search(rb"(?im)^x-request-id: *([^\r]*)\r$", lines)
            assert request_id is not None
            number = told.removeprefix("question ")
            assert int(number) not in HIDDEN, "a body was taken for a request"
            assert request_id[1].decode() in (f"id-{number}", "another") or b"id-" not in request_id[1], (told, lines)


@pytest.mark.slow
@pytest.mark.attack
@pytest.mark.parametrize(
    ("design", "flags"),
    [
        ("batched", []),
        ("scaled", ["--min-replicas", "1", "--max-replicas", "1", "--base-port", "18750"]),
    ],
)
async def test_any_bytes_are_answered_or_refused_and_nobody_gets_another_s_answer(
    design: str, flags: list[str], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with running(tmp_path, design, "--profile", "stub", "--engine", "thread", *flags) as (server, client):
        url = urlsplit(server.url)
        address = (str(url.hostname), int(url.port or 0))
        tried = 0

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(PIECES)
        def attack(pieces: list[int | bytes | list[bytes]]) -> None:
            nonlocal tried
            tried += 1
            check(address, pieces)

        await asyncio.to_thread(attack)
        record_property("attacks", tried)
        assert (await client.get("/ready")).status_code == 200
        assert (await client.post("/rag", json={"query": "still there?"})).status_code == 200
    assert "Traceback" not in (tmp_path / f"{design}.log").read_text()
