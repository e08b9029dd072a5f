import asyncio
import errno
import re
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from ragbench.load.client import Client, ServiceError, connect
from ragbench.load.target import Target
from ragbench.results.records import Scaling, Start, read_manifest, write_manifest
from ragbench.study.questions import Question
from ragbench.study.schedule import Request

QUESTION = Question("q1", "Where?", ("Kalvo",), ("d1", "d2"))
GOOD = {
    "query": "Where?",
    "result": "the Kalvo.",
    "documents": [{"id": "d1", "text": "", "score": 1.0}, {"id": "d9", "text": "", "score": 0.5}],
    "model": "m",
    "usage": {"prompt_tokens": 9, "completion_tokens": 2},
}


@asynccontextmanager
async def serving(*routes, timeout_s=5.0):
    """A client of a service made of `routes`."""
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with connect(Target(url, timeout_s, k=3, max_new_tokens=4)) as client:
            yield client
    finally:
        await runner.cleanup()


async def ask(client, due_s=0.0, now_s=0.5):
    times = iter([now_s, now_s + 0.25])
    return await client.ask(client.prepare(Request(4, due_s, QUESTION)), lambda: next(times))


async def test_what_is_sent_and_when():
    seen = {}

    async def rag(request):
        seen.update(body=await request.json(), headers=request.headers)
        answer = web.json_response(GOOD)
        answer.headers.add("Server-Timing", "queue;dur=1")
        answer.headers.add("Server-Timing", "embed;dur=2")
        return answer

    async with serving(web.post("/rag", rag)) as client:
        row = await ask(client, due_s=0.4)
    assert seen["body"] == {"query": "Where?", "k": 3, "max_new_tokens": 4}
    assert re.fullmatch(r"[0-9a-f]{8}-4", seen["headers"]["X-Request-Id"])
    assert "X-Request-Timeout-S" not in seen["headers"]
    assert seen["headers"]["Content-Type"] == "application/json"
    assert (row.request, row.question, row.status, row.due_s) == (4, "q1", "ok", 0.4)
    assert (row.sent_s, row.done_s) == (0.5, 0.75)
    assert (row.send_lag_s, row.latency_s) == pytest.approx((0.1, 0.35))
    assert (row.queue_s, row.embed_s) == (0.001, 0.002)


async def test_the_timeout_counts_from_when_it_was_due():
    async def rag(request):
        await asyncio.get_running_loop().create_future()

    async with serving(web.post("/rag", rag), timeout_s=0.55) as client:
        row = await ask(client, now_s=0.5)
    assert (row.status, row.http_status) == ("timeout", None)
    assert row.error == "no answer within 0.55 s of being due"


async def test_a_request_that_is_past_its_timeout_is_not_sent():
    async with serving(timeout_s=0.4) as client:
        row = await ask(client, now_s=0.5)
    assert (row.status, row.sent_s, row.done_s, row.latency_s) == ("unsent", None, None, None)


async def test_a_body_that_is_cut_off_is_truncated():
    async def rag(request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"result": "Kal')
        request.transport.abort()
        return response

    async with serving(web.post("/rag", rag)) as client:
        row = await ask(client)
    assert (row.status, row.http_status) == ("truncated", 200)
    assert row.error.startswith("the answer was cut off")


async def test_a_connection_lost_before_an_answer_is_a_reset():
    async def rag(request):
        request.transport.abort()

    async with serving(web.post("/rag", rag)) as client:
        row = await ask(client)
    assert (row.status, row.http_status) == ("reset", None)
    assert row.error


async def test_an_answer_that_is_no_http_is_a_bad_answer():
    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(Target(url, 5.0)) as client:
            row = await ask(client)
    assert (row.status, row.http_status) == ("bad_answer", None)
    assert row.error


async def test_a_client_out_of_descriptors_has_not_sent():
    class NoFiles(aiohttp.TCPConnector):
        async def _create_connection(self, *arguments):
            raise aiohttp.ClientConnectorError(
                arguments[0].connection_key, OSError(errno.EMFILE, "Too many open files")
            )

    async with aiohttp.ClientSession(connector=NoFiles()) as session:
        row = await ask(Client(session, Target("http://127.0.0.1:9", 5.0)))
    assert (row.status, row.sent_s, row.done_s, row.latency_s) == ("unsent", None, None, None)
    assert "no file descriptor left" in row.error
    assert "ulimit -n" in row.error


async def test_no_two_clients_name_a_request_alike_and_each_tells_its_deadline():
    names, deadlines = set(), set()
    for deadline_s in (1.0, 0.25, None):
        async with connect(Target("http://x", 1.0, deadline_s=deadline_s)) as client:
            prepared = [client.prepare(Request(number, 0.0, QUESTION)).headers for number in range(5)]
        names |= {headers["X-Request-Id"] for headers in prepared}
        deadlines |= {headers.get("X-Request-Timeout-S") for headers in prepared}
    assert len(names) == 15
    assert deadlines == {"1", "0.25", None}


@pytest.mark.parametrize("location", ["/elsewhere?a=b", "https://other.example/rag"])
async def test_a_redirect_is_not_followed_and_names_where_it_leads(location):
    async def rag(request):
        raise web.HTTPTemporaryRedirect(location)

    async with serving(web.post("/rag", rag)) as client:
        row = await ask(client)
        there = location if "other" in location else client.target.url.rstrip("/") + location
    assert (row.status, row.http_status) == ("http_error", 307)
    assert row.error == f"307: it redirects to {there}"


@pytest.mark.parametrize("location", ["http://[", "http://[INST]/", "//[x"])
async def test_a_redirect_to_what_is_no_url_is_a_row_that_shows_it(location):
    async def rag(request):
        return web.Response(status=302, headers={"Location": location})

    async with serving(web.post("/rag", rag)) as client:
        row = await ask(client)
    assert (row.status, row.error) == ("http_error", f"302: it redirects to {location}")


async def test_a_redirect_of_health_is_an_answer():
    async def health(request):
        raise web.HTTPFound("/health")  # to itself, for ever

    async with serving(web.get("/health", health)) as client:
        await client.check()


async def test_a_wrong_path_names_the_url_that_was_asked():
    async def only_get(request):
        return web.Response()

    async with serving(web.get("/v1/rag", only_get)) as client:
        row = await ask(client)
        url = client.target.url.rstrip("/")
        async with connect(Target(f"{url}/v1/rag?key=x", 5.0)) as other:
            wrong = await ask(other)
    assert (row.status, row.http_status, row.error) == ("http_error", 404, f"404: POST {url}/rag: 404: Not Found")
    assert wrong.error == f"405: POST {url}/v1/rag?key=x: 405: Method Not Allowed"


async def test_the_query_of_the_url_goes_with_every_request():
    seen = []

    async def rag(request):
        seen.append(request.path_qs)
        return web.json_response(GOOD)

    async with (
        serving(web.post("/v1/rag", rag)) as client,
        connect(Target(f"{client.target.url}v1?key=a%20b", 5.0)) as other,
    ):
        row = await ask(other)
    assert (row.status, seen) == ("ok", ["/v1/rag?key=a%20b"])


@pytest.mark.parametrize(("size", "status"), [(20_000, "ok"), (100_000, "bad_answer")])
async def test_long_headers(size, status):
    async def rag(request):
        return web.json_response(GOOD, headers={"X-Trace": "y" * size})

    async def health(request):
        return web.Response(headers={"X-Trace": "y" * size})

    async with serving(web.post("/rag", rag), web.get("/health", health)) as client:
        row = await ask(client)
        if status == "ok":
            await client.check()
        else:
            with pytest.raises(
                ServiceError, match=r"what answers at http://.* is not understood: .*Got more than 65536"
            ):
                await client.check()
    assert row.status == status
    assert row.error is None or row.error.startswith("the answer cannot be read as HTTP: Got more than 65536 bytes")


async def test_nothing_at_the_address():
    async with connect(Target("http://127.0.0.1:9", 1.0)) as client:
        with pytest.raises(ServiceError, match=r"nothing answers at http://127\.0\.0\.1:9: Connection refused"):
            await client.check()
        assert await client.info() is None
        row = await ask(client)
    assert row.status == "connection_error"


async def test_what_a_service_tells_of_itself():
    async def replicas(request):
        states = ["ready", "ready", "starting", "dead", "draining", "odd"]
        return web.json_response({"replicas": [{"state": state} for state in states]})

    async def info(request):
        return web.json_response({"design": "x"})

    async with serving(web.get("/replicas", replicas), web.get("/info", info)) as client:
        assert await client.info() == {"design": "x"}
        count = await client.replica_count(lambda: 1.5)
        await client.check()  # there is no /health: a 404 is an answer
    assert (count.t_s, count.ready, count.starting, count.draining) == (1.5, 2, 1, 1)


async def test_what_a_fleet_tells_of_its_scaling():
    async def scaling(request):
        return web.json_response({"starts": [{"age_s": 2, "start_s": 1.5}]})

    async with serving(web.get("/scaling", scaling)) as client:
        assert await client.scaling(lambda: 10.0) == Scaling((), (Start(8.0, 1.5),))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            '{"a": NaN, "b": [-Infinity, 1e999, 2.5], "c": "\\ud800"}',
            {"a": None, "b": [None, None, 2.5], "c": "\ud800"},
        ),
        ('{"a": ' + "[" * 500 + "]" * 500 + "}", None),
        ('{"a": ' + "[" * 100_000, None),
        ('{"a": ' + "9" * 5000 + "}", None),
    ],
    ids=["numbers that JSON has not", "deep", "too deep to read", "a long number"],
)
async def test_what_a_service_tells_can_be_written_down(body, told, tmp_path):
    async def info(request):
        return web.Response(text=body)

    async with serving(web.get("/info", info)) as client:
        found = await client.info()
    assert found == told
    point = {"name": "p", "design": "d", "settings": {}, "arrival": "ideal", "offered_rps": 2.0, "seed": 1}
    path = tmp_path / "p" / "manifest.json"
    write_manifest(path, {"point": point, "summary": {"verdict": "valid"}, "server_info": found})
    assert read_manifest(path)["server_info"] == found


async def test_a_service_that_tells_nothing():
    async def odd(request):
        return web.Response(text="[1]")

    async with serving(web.get("/info", odd)) as client:
        assert await client.info() is None
        assert await client.replica_count(lambda: 0.0) is None
        assert await client.scaling(lambda: 0.0) == Scaling()
