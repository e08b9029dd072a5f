"""One command and its answer over a socket, and each way in which there is none."""

import asyncio
from pathlib import Path

import pytest

from servers.fleet.haproxy.runtime import Away, RuntimeApi
from tests.servers.fleet.haproxy.fake import FakeHAProxy, slots


async def test_an_answer_over_a_unix_socket(tmp_path: Path) -> None:
    haproxy = FakeHAProxy(slots(1))
    async with haproxy.listening(tmp_path / "s"):
        assert await RuntimeApi(str(tmp_path / "s")).ask("set server replicas/slot1 state ready") == "\n"
    assert haproxy.heard == ["set server replicas/slot1 state ready"]


async def test_an_answer_over_tcp_comes_whole_however_it_is_cut() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in (await reader.readline(), b"half", b" and half\n\n"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await RuntimeApi(f"127.0.0.1:{port}").ask("show info") == "show info\nhalf and half\n\n"


async def test_where_nobody_listens_the_address_and_the_reason_are_said(tmp_path: Path) -> None:
    with pytest.raises(Away) as caught:
        await RuntimeApi(str(tmp_path / "none")).ask("show info")
    assert str(caught.value) == f"HAProxy cannot be reached at {tmp_path / 'none'}: No such file or directory"
    with pytest.raises(Away, match=r"cannot be reached at 127\.0\.0\.1:1: Connection refused"):
        await RuntimeApi("127.0.0.1:1").ask("show info")


async def test_one_that_says_nothing_is_away_after_the_limit(tmp_path: Path) -> None:
    haproxy = FakeHAProxy(slots(1), is_silent=True)
    async with haproxy.listening(tmp_path / "s"):
        with pytest.raises(Away, match=r"gave no answer within 0\.05 s"):
            await RuntimeApi(str(tmp_path / "s"), timeout_s=0.05).ask("show info")


@pytest.mark.parametrize(
    ("answer", "message"),
    [("", "closed the connection without an answer"), ("x" * (1 << 21), "answered more than 1048576 bytes")],
)
async def test_an_answer_that_is_none(answer: str, message: str, tmp_path: Path) -> None:
    haproxy = FakeHAProxy({}, answers={"show": answer})
    async with haproxy.listening(tmp_path / "s"):
        with pytest.raises(Away, match=message):
            await RuntimeApi(str(tmp_path / "s")).ask("show info")
