import asyncio
import errno
import json
import re
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from ragbench.load.client import (
    Answer,
    Client,
    ServiceError,
    connect,
    read_answer,
    read_headers,
    read_scaling,
    server_timing,
)
from ragbench.results.records import NOTHING_TOLD, Decision, Scaling, Start, read_manifest, write_manifest
from ragbench.study.questions import Question
from ragbench.study.schedule import Request
from ragbench.study.study import Workload

QUESTION = Question("q1", "Where?", ("Kalvo",), ("d1", "d2"))
GOOD = {
    "query": "Where?",
    "result": "the Kalvo.",
    "documents": [{"id": "d1", "text": "", "score": 1.0}, {"id": "d9", "text": "", "score": 0.5}],
    "model": "m",
    "usage": {"prompt_tokens": 9, "completion_tokens": 2},
}


def told(body, status=200, headers=None):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_answer(Answer(status, headers or {}, raw), QUESTION)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("queue;dur=1.2, embed;dur=0.5", {"queue": 0.0012, "embed": 0.0005}),
        ('db;desc="a, b; dur=9";dur=3', {"db": 0.003}),
        ('queue;dur="4"', {"queue": 0.004}),
        ("queue ; dur = 2 ", {"queue": 0.002}),
        ("queue;dur=1, queue;dur=2", {"queue": 0.001}),
        ("queue;dur=-1, a;dur=nan, b;dur=x, c;dur=, d, e;dur=inf, f;dur=1", {"f": 0.001}),
        ("queue;dur=1e308, embed;dur=1e12", {"embed": 1e9}),
        ("", {}),
        (";;,,=;dur", {}),
    ],
)
def test_server_timing(header, seconds):
    assert server_timing(header) == pytest.approx(seconds)


@given(st.text())
def test_server_timing_takes_any_text(header):
    assert all(seconds >= 0 for seconds in server_timing(header).values())


def test_headers_may_be_missing():
    assert set(read_headers({}).values()) == {None}


@pytest.mark.parametrize(
    ("text", "size"), [("7", 7), (" 12 ", 12), ("0", None), ("-1", None), ("7.5", None), ("x", None)]
)
def test_batch_size_header(text, size):
    assert read_headers({"x-batch-size": text})["batch_size"] == size


def test_a_good_answer():
    headers = {"server-timing": "queue;dur=1, generate;dur=9", "x-batch-size": "7", "x-replica": "8001"}
    assert told(GOOD, headers=headers) == {
        "http_status": 200,
        "status": "ok",
        "result": "the Kalvo.",
        "exact_match": 1.0,
        "f1": 1.0,
        "recall_at_k": 0.5,
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "queue_s": 0.001,
        "embed_s": None,
        "retrieve_s": None,
        "generate_s": 0.009,
        "batch_size": 7,
        "close_reason": None,
        "replica": "8001",
    }


def test_an_answer_with_nothing_but_its_result_is_good():
    row = told({"result": "no"})
    assert (row["status"], row["exact_match"], row["f1"], row["recall_at_k"]) == ("ok", 0.0, 0.0, None)
    assert row["prompt_tokens"] is None


def test_odd_extras_do_not_spoil_an_answer():
    row = told({"result": "Kalvo", "documents": [None, "d1", {"id": 5}, {}], "usage": {"prompt_tokens": "9"}})
    assert (row["status"], row["recall_at_k"], row["prompt_tokens"]) == ("ok", 0.0, None)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff\xfe", b"[]", b"{}", b'{"result": 5}', b'{"result": null}', b"[" * 99_999]
)
def test_a_200_that_holds_no_result_is_a_bad_answer(body):
    row = told(body)
    assert (row["status"], row["http_status"]) == ("bad_answer", 200)
    assert row["error"]
    assert len(row["error"]) <= 300


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (429, "rejected"),
        (503, "rejected"),
        (504, "timeout"),
        (500, "http_error"),
        (404, "http_error"),
        (302, "http_error"),
    ],
)
def test_statuses_of_http(code, status):
    row = told({"detail": "why"}, status=code)
    assert (row["status"], row["http_status"], row["error"]) == (status, code, f"{code}: why")
    assert told(b"plain", status=code)["error"] == f"{code}: plain"


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
        async with connect(url, workload=Workload(k=3, max_new_tokens=4), timeout_s=timeout_s) as client:
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
        async with connect(url, workload=Workload(), timeout_s=5.0) as client:
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
        row = await ask(Client(session, url="http://127.0.0.1:9", workload=Workload(), timeout_s=5.0))
    assert (row.status, row.sent_s, row.done_s, row.latency_s) == ("unsent", None, None, None)
    assert "no file descriptor left" in row.error
    assert "ulimit -n" in row.error


async def test_a_request_of_a_trace_has_its_own_length():
    async with connect("http://x", workload=Workload(max_new_tokens=40), timeout_s=1.0) as client:
        bodies = [json.loads(client.prepare(Request(0, 0.0, QUESTION, limit)).body) for limit in (7, None)]
    assert [body["max_new_tokens"] for body in bodies] == [7, 40]


async def test_no_two_clients_name_a_request_alike_and_each_tells_its_deadline():
    names, deadlines = set(), set()
    for deadline_s in (1.0, 0.25, None):
        async with connect("http://x", workload=Workload(), timeout_s=1.0, deadline_s=deadline_s) as client:
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
        there = location if "other" in location else client.url.rstrip("/") + location
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
        url = client.url.rstrip("/")
        async with connect(f"{url}/v1/rag?key=x", workload=Workload(), timeout_s=5.0) as other:
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
        connect(f"{client.url}v1?key=a%20b", workload=Workload(), timeout_s=5.0) as other,
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
    async with connect("http://127.0.0.1:9", workload=Workload(), timeout_s=1.0) as client:
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


DECISION = {"number": 1, "age_s": 1.0, "ready": 2, "starting": 1, "outstanding": 9, "queue_wait_p95_s": 0.25}
DECISION |= {"arrival_rps": 20.0, "target": 4, "reason": "queue wait"}


async def test_what_a_fleet_tells_of_its_scaling():
    async def scaling(request):
        decisions = [DECISION, DECISION | {"age_s": 3.0, "target": 3}, DECISION | {"age_s": 99.0}]
        starts = [{"age_s": 2, "start_s": 1.5}]
        return web.json_response({"policy": "p", "window_s": 5.0, "decisions": decisions, "starts": starts})

    async with serving(web.get("/scaling", scaling)) as client:
        told = await client.scaling(lambda: 10.0)
    assert [one.t_s for one in told.decisions] == [7.0, 9.0]  # in order, and none of before the schedule's origin
    assert told.decisions[1] == Decision(9.0, 2, 1, 9, 0.25, 20.0, 4, "queue wait")
    assert told.starts == (Start(8.0, 1.5),)


def test_a_decision_tells_nothing_of_the_load_before():
    """The fleet's window of 5 s: at 4.9 s of a point it still held what came before, so that is left out."""
    decisions = [DECISION | {"age_s": age_s} for age_s in (8.0, 5.1, 5.0, 1.0)]
    told = read_scaling({"window_s": 5.0, "decisions": decisions}, now_s=10.0)
    assert [one.queue_wait_p95_s for one in told.decisions] == [None, None, 0.25, 0.25]
    assert [one.arrival_rps for one in told.decisions] == [None, None, 20.0, 20.0]
    assert [(one.target, one.reason) for one in told.decisions] == [(4, "queue wait")] * 4


def test_numbers_whose_sum_is_no_number_are_not_taken():
    decisions, starts = [DECISION | {"arrival_rps": 1e308}], [{"age_s": 1.0, "start_s": 1e308}]
    assert read_scaling({"window_s": 5.0, "decisions": decisions, "starts": starts}, now_s=10.0) == NOTHING_TOLD


@pytest.mark.parametrize("window_s", [None, "5", float("nan")])
def test_a_window_of_unknown_length_may_reach_back_to_any_load(window_s):
    told = read_scaling({"window_s": window_s, "decisions": [DECISION]}, now_s=10.0)
    assert [(one.queue_wait_p95_s, one.arrival_rps) for one in told.decisions] == [(None, None)]


@pytest.mark.parametrize(
    "odd",
    [
        *({"age_s": None}, {"age_s": float("nan")}, {"arrival_rps": float("inf")}, {"target": None}, {"ready": "two"}),
        *({"queue_wait_p95_s": "0.1"}, {"age_s": -5.0}, {"ready": 10**400}, {"outstanding": -1}, {"target": 1e300}),
    ],
)
def test_a_decision_that_cannot_be_read_is_left_out(odd):
    told = read_scaling({"decisions": [DECISION | odd, DECISION, None, {}, 5], "starts": None}, now_s=10.0)
    assert [one.t_s for one in told.decisions] == [9.0]
    assert told.starts == ()


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


def test_counts_that_no_figure_could_be_computed_of_are_absent():
    usage = {"prompt_tokens": 10**400, "completion_tokens": 7}
    answer = Answer(200, {}, json.dumps({"result": "x", "usage": usage}).encode())
    told = read_answer(answer, Question("q", "?"))
    assert (told["prompt_tokens"], told["completion_tokens"]) == (None, 7)


@pytest.mark.parametrize("depth", range(850, 1000, 10))
def test_an_answer_nested_deep_is_a_row(depth):
    deep = "[" * depth + "]" * depth
    question = Question("q", "?", documents=("a",))
    for status, body in ((200, f'{{"result": "x", "documents": [{{"id": {deep}}}]}}'), (500, f'{{"detail": {deep}}}')):
        assert read_answer(Answer(status, {}, body.encode()), question)["http_status"] == status


async def test_a_service_that_tells_nothing():
    async def odd(request):
        return web.Response(text="[1]")

    async with serving(web.get("/info", odd)) as client:
        assert await client.info() is None
        assert await client.replica_count(lambda: 0.0) is None
        assert await client.scaling(lambda: 0.0) == Scaling()
