"""A service that answers without end: nothing of it is read further than such an answer may be long."""

import gzip

import pytest
from aiohttp import web

from ragbench.chaos.fleet import _fetch
from ragbench.load.client import MOST_ANSWER, MOST_REPORT
from ragbench.processes.log_file import read_log
from tests.ragbench.load.test_client import ask, serving
from tests.ragbench.load.wires.test_rag import told

pytestmark = pytest.mark.attack
PIECE = b" " * (1 << 16)
MOST_SENT = 4096  # pieces: 256 MiB
BUFFERED = 32 << 20  # bytes on the way in sockets and in the client's own buffers


class Endless:
    """A body that ends when its reader is gone, or after MOST_SENT pieces. `sent`: its bytes so far."""

    def __init__(self, *, headers=None, first=b""):
        self.headers = headers
        self.first = first
        self.sent = 0

    async def answer(self, request):
        await request.read()
        response = web.StreamResponse(headers=self.headers)
        await response.prepare(request)
        await response.write(self.first)
        for _ in range(MOST_SENT):
            await response.write(PIECE)
            self.sent += len(PIECE)
        return response


@pytest.mark.parametrize("headers", [None, {"Content-Length": str(1 << 40)}], ids=["chunked", "with a length"])
async def test_an_answer_without_end_is_a_bad_answer(headers):
    endless = Endless(headers=headers, first=b'{"result": "')
    async with serving(web.post("/rag", endless.answer), timeout_s=60.0) as client:
        row = await ask(client)
    assert (row.status, row.http_status) == ("bad_answer", 200)
    assert row.error == "the answer is longer than 16 MiB, and is not read further"
    assert endless.sent < MOST_ANSWER + BUFFERED


async def test_an_answer_that_unpacks_without_end_is_a_bad_answer():
    packed = gzip.compress(b" " * (64 << 20), compresslevel=9)

    async def answer(request):
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    async with serving(web.post("/rag", answer), timeout_s=60.0) as client:
        row = await ask(client)
    assert row.status == "bad_answer"
    assert "16 MiB" in row.error


@pytest.mark.parametrize("path", ["/info", "/replicas", "/scaling"])
async def test_what_a_service_tells_of_itself_without_end_is_not_known(path):
    endless = Endless(first=b'{"design": "')
    async with serving(web.get(path, endless.answer)) as client:
        found = {
            "/info": client.info,
            "/replicas": lambda: client.replica_count(lambda: 1.0),
            "/scaling": lambda: client.scaling(lambda: 1.0),
        }[path]
        assert not getattr(await found(), "decisions", None)
    assert endless.sent < MOST_REPORT + BUFFERED


async def test_metrics_without_end_are_not_known():
    endless = Endless(headers={"Content-Type": "text/plain"})
    async with serving(web.get("/metrics", endless.answer)) as client:
        assert await _fetch(client.target.url.rstrip("/") + "/metrics") is None
    assert endless.sent < MOST_REPORT + BUFFERED


def test_a_text_too_long_for_a_row_is_a_bad_answer():
    assert told({"result": "x" * (1 << 20)})["status"] == "ok"
    found = told({"result": "x" * ((1 << 20) + 1)})
    assert (found["status"], "result" in found) == ("bad_answer", False)
    assert found["error"] == "the text under 'result' has 1,048,577 characters, more than 1,048,576"


def test_of_a_long_log_the_end_is_kept_and_the_rest_told(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {n:04}\n" for n in range(1000)))
    text, end = read_log(log, since=10, most=20)
    assert text == "[ragbench] 9,970 bytes before this were not kept\nline 0998\nline 0999\n"
    assert read_log(log, since=end) == ("", end)
    assert read_log(log)[0] == log.read_text()
