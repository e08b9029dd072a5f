"""The client of an experiment, against listeners of our own."""

import asyncio

import numpy as np
import pytest

from ragbench.chaos.client import ChaosClient
from ragbench.load.fire import fire
from ragbench.study.questions import Question
from ragbench.study.schedule import Request

ASKED = [Request(number, 0.0, Question(f"q{number}", f"why {number}?")) for number in range(4)]
HEAD = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nConnection: close\r\n"


async def listen(port, answer):
    """A server that gives `answer(request id, query)` to each request."""

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
        body = await reader.readexactly(int(fields["content-length"]))
        writer.write(answer(fields["x-request-id"], body.split(b'"')[3]))
        await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", port)


def reply(status, body, **headers):
    lines = b"".join(f"{name.replace('_', '-')}: {value}\r\n".encode() for name, value in headers.items())
    return HEAD % status + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


def echo(request_id, query):
    return reply(b"200 OK", b'{"result": "' + query + b'"}', X_Request_Id=request_id)


async def asked(url, **behaviour):
    asker = ChaosClient("a", np.random.default_rng(1), **behaviour)
    async with asker.connected(url):
        await fire(ASKED, asker)
    return asker, asker.exchanges


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (echo, "answered"),
        (lambda request_id, _: echo(request_id, b"what?"), "lost"),
        (lambda _, query: echo("a-99", query), "lost"),
        (lambda *_: reply(b"503 Service Unavailable", b"{}", Retry_After="2"), "rejected"),
        (lambda *_: reply(b"503 Service Unavailable", b"{}"), "lost"),
    ],
)
async def test_each_answer_is_judged_by_its_id_its_body_and_retry_after(unused_tcp_port, answer, fate):
    async with await listen(unused_tcp_port, answer):
        _, exchanges = await asked(f"http://127.0.0.1:{unused_tcp_port}")
    assert [each.fate for each in exchanges] == [fate] * 4
    assert {each.sent_id for each in exchanges} == {"a-0", "a-1", "a-2", "a-3"}


async def test_it_tries_again_with_the_same_id_until_somebody_listens(unused_tcp_port):
    url = f"http://127.0.0.1:{unused_tcp_port}"
    ids = []

    def noted(request_id, query):
        ids.append(request_id)
        return echo(request_id, query)

    asker = ChaosClient("a", np.random.default_rng(1))
    async with asker.connected(url):
        firing = asyncio.create_task(fire(ASKED, asker))
        while asker.refused < 4:
            await asyncio.sleep(0)
        async with await listen(unused_tcp_port, noted):
            await firing
    exchanges = asker.exchanges
    assert [each.fate for each in exchanges] == ["answered"] * 4
    assert sorted(ids) == ["a-0", "a-1", "a-2", "a-3"]
    assert max(each.row.send_lag_s for each in exchanges) < 1.0


async def test_where_nobody_ever_listens_it_is_lost(unused_tcp_port):
    asker, exchanges = await asked(f"http://127.0.0.1:{unused_tcp_port}", timeout_s=0.3)
    assert [each.fate for each in exchanges] == ["lost"] * 4
    assert asker.refused >= 8


async def test_those_that_hang_up_are_not_counted(unused_tcp_port):
    async with await listen(unused_tcp_port, echo):
        asker, exchanges = await asked(f"http://127.0.0.1:{unused_tcp_port}", hang_up_share=1.0)
    assert len(exchanges) + asker.hung_up == 4


async def test_a_client_that_hangs_up_on_a_silent_server_has_no_exchange(unused_tcp_port):
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", unused_tcp_port):
        asker, exchanges = await asked(f"http://127.0.0.1:{unused_tcp_port}", hang_up_share=1.0)
    assert (asker.hung_up, exchanges) == (4, [])
