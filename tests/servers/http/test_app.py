"""The wire, round a design that answers at once: validation, headers, errors to statuses."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from servers.errors import BadRequest, QuestionFailed, QueueFull, RequestError, Unavailable, UpstreamFailed
from servers.http.app import add_task, create_app
from servers.http.endpoints import RAG
from servers.http.state import State
from servers.http.wire import Answer, Document, Question, Served, Usage
from servers.settings import Settings
from servers.tasks import Background
from servers.telemetry import logs, metrics
from tests.servers.listening import listening


class Echo:
    """Answers with the question; a query that names an error raises it. `asked` is what it was asked."""

    def __init__(self, asked: list[str]) -> None:
        self.asked = asked

    async def start(self, background: Background) -> None: ...

    async def stop(self) -> None: ...

    def info(self) -> dict[str, Any]:
        return {"device": "none"}

    def mount(self, app: FastAPI, state: State) -> None:
        add_task(app, state, RAG, self.answer, request_timeout_s=0.05)

    async def answer(self, question: Question, deadline_s: float) -> Served:
        errors: dict[str, Callable[[], Exception]] = {
            "full": lambda: QueueFull("too busy", retry_after_s=7),
            "bug": lambda: KeyError("a secret"),
            "many": lambda: BadRequest("k: must be <= 3, got 9"),
        }
        self.asked.append(question.query)
        if question.query in errors:
            raise errors[question.query]()
        if question.query == "slow":
            await asyncio.sleep(30)
        answer = Answer(
            query=question.query,
            result="echo",
            documents=[Document(id="d", text="t", score=0.5)],
            model="none",
            usage=Usage(prompt_tokens=1, completion_tokens=1),
        )
        body = answer.model_dump_json().encode()
        return Served(body, {"queue": 0.001, "embed": 0.002, "retrieve": 0.003, "generate": 0.0045}, batch_size=3)


@pytest.fixture
def state() -> State:
    return State(ready=True, replica="r1")


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
async def client(state: State, asked: list[str]) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app("echo", Settings(max_body_bytes=1000), Echo(asked), state)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as session:
        yield session


async def test_an_answer_has_its_fields_and_headers(client: httpx.AsyncClient) -> None:
    answer = await client.post("/rag", json={"query": "hello"}, headers={"X-Request-Id": "abc"})
    assert answer.status_code == 200
    assert answer.json() == {
        "query": "hello",
        "result": "echo",
        "documents": [{"id": "d", "text": "t", "score": 0.5}],
        "model": "none",
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
    timing = "queue;dur=1.000, embed;dur=2.000, retrieve;dur=3.000, generate;dur=4.500"
    assert answer.headers["Server-Timing"] == timing
    assert answer.headers["X-Batch-Size"] == "3"
    assert answer.headers["X-Replica"] == "r1"
    assert answer.headers["X-Request-Id"] == "abc"


async def test_a_shorter_time_limit_of_the_client_holds(client: httpx.AsyncClient) -> None:
    answer = await client.post("/rag", json={"query": "slow"}, headers={"X-Request-Timeout-S": "0.01"})
    assert (answer.status_code, answer.json()) == (504, {"detail": "no answer within 0.01 s"})
    answer = await client.post("/rag", json={"query": "slow"}, headers={"X-Request-Timeout-S": "soon"})
    assert answer.status_code == 422
    assert "X-Request-Timeout-S" in answer.json()["detail"]


async def test_the_same_request_again_is_given_the_same_answer(client: httpx.AsyncClient, asked: list[str]) -> None:
    for query, request_id in (("a", "1"), ("a", "1"), ("b", "1"), ("a", "2")):
        answer = await client.post("/rag", json={"query": query}, headers={"X-Request-Id": request_id})
        assert (answer.json()["query"], answer.headers["X-Request-Id"]) == (query, request_id)
    assert asked == ["a", "b", "a"]
    for _ in range(2):
        await client.post("/rag", json={"query": "without an id"})
    assert asked[3:] == ["without an id"] * 2


async def test_a_request_without_an_id_is_given_one(client: httpx.AsyncClient) -> None:
    ids = {(await client.post("/rag", json={"query": "hello"})).headers["X-Request-Id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(len(name) == 32 for name in ids)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": "  \n"}, "query"),
        ({"query": 7}, "query"),
        ({"query": "x", "k": 0}, "k"),
        ({"query": "x", "k": "two"}, "k"),
        ({"query": "x", "max_new_tokens": 0}, "max_new_tokens"),
    ],
)
async def test_bad_input_is_422_with_the_name_of_the_field(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await client.post("/rag", json=body)
    assert answer.status_code == 422
    assert [part["loc"][-1] for part in answer.json()["detail"]] == [field]


async def test_invalid_json_is_422(client: httpx.AsyncClient) -> None:
    answer = await client.post("/rag", content=b"{nope", headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "detail" in answer.json()


@pytest.mark.parametrize("declared", [True, False])
async def test_a_large_body_is_413_whether_its_length_is_declared_or_not(
    client: httpx.AsyncClient, *, declared: bool
) -> None:
    body = b'{"query": "' + b"x" * 2000 + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        yield body[:500]
        yield body[500:]

    answer = await client.post(
        "/rag", content=body if declared else chunks(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.json() == {"detail": "body: must be at most 1000 bytes"}
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("query", "status", "detail", "retry_after"),
    [
        ("full", 429, "too busy", "7"),
        ("many", 422, "k: must be <= 3, got 9", None),
        ("slow", 504, "no answer within 0.05 s", None),
        ("bug", 500, "internal error", None),
    ],
)
async def test_errors_have_their_status_and_public_text(
    client: httpx.AsyncClient, query: str, status: int, detail: str, retry_after: str | None
) -> None:
    answer = await client.post("/rag", json={"query": query})
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})
    assert answer.headers.get("Retry-After") == retry_after
    assert answer.headers.get("X-Error-Scope") == ("server" if status == 429 else None)
    assert answer.headers["X-Replica"] == "r1"
    assert answer.headers["X-Request-Id"]
    assert f'rag_requests_total{{status="{status}"}}' in (await client.get("/metrics")).text


async def test_loading_and_draining_servers_say_so(client: httpx.AsyncClient, state: State) -> None:
    assert (await client.get("/ready")).status_code == 200
    state.draining = True
    for path in ("/ready", "/rag"):
        answer = await (client.post(path, json={"query": "x"}) if path == "/rag" else client.get(path))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    state.ready = False
    assert (await client.get("/ready")).json() == {"detail": "the server is still loading"}
    assert (await client.get("/health")).json() == {"status": "alive"}


async def test_an_unknown_path_is_404_with_a_detail(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nowhere")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


async def test_info_and_metrics(client: httpx.AsyncClient) -> None:
    info = (await client.get("/info")).json()
    assert (info["design"], info["replica"], info["device"]) == ("echo", "r1", "none")
    assert info["settings"]["max_body_bytes"] == 1000
    await client.post("/rag", json={"query": "hello"})
    text = (await client.get("/metrics")).text
    assert 'rag_requests_total{status="200"}' in text


@pytest.mark.parametrize(
    ("client_host", "server_host", "sees_all"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", True),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.6", "10.0.0.5", False),
        ("fd00::6", "fd00::5", False),
    ],
)
async def test_a_stranger_is_told_what_runs_there_and_no_settings(
    client_host: str, server_host: str, state: State, *, sees_all: bool
) -> None:
    class Known(Echo):
        def info(self) -> dict[str, Any]:
            return {"versions": {"python": "3"}, "generator": "g", "replicas": [{"url": "http://10.0.0.7:1"}]}

    for key, may_see_all in ((None, sees_all), ("key", True)):
        app = create_app("echo", Settings(host=server_host, api_key=key), Known([]), state)
        transport = httpx.ASGITransport(app, client=(client_host, 1))
        host = f"[{server_host}]" if ":" in server_host else server_host
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as session:
            told = (await session.get("/info", headers={"Authorization": "Bearer key"})).json()
        if may_see_all:
            assert (told["settings"]["max_k"], told["replica"], len(told["replicas"])) == (50, "r1", 1)
        else:
            assert told == {"design": "echo", "versions": {"python": "3"}, "generator": "g"}


async def test_who_comes_through_a_proxy_on_this_machine_is_a_stranger(state: State) -> None:
    app = create_app("echo", Settings(), Echo([]), state)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as session:
        assert "settings" in (await session.get("/info")).json()
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
            assert "settings" not in (await session.get("/info", headers={header: "192.0.2.1"})).json()


@pytest.mark.parametrize(
    ("error", "lines"),
    [(QuestionFailed("internal error"), 1), (UpstreamFailed("502 there"), 1), (Unavailable("no"), 0)],
)
async def test_a_question_that_fails_is_a_line_in_the_log_with_its_request_id(
    error: RequestError, lines: int, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Echo):
        async def answer(self, question: Question, deadline_s: float) -> Served:
            raise error

    known: list[str | None] = []
    caplog.handler.addFilter(lambda record: known.append(logs.request_id.get()) is None)
    app = create_app("echo", Settings(), Failing([]), state)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as session:
        await session.post("/rag", json={"query": "q"}, headers={"X-Request-Id": "seven"})
    told = [record.getMessage() for record in caplog.records if record.name == "servers.http.task"]
    assert told == [f"a question failed: {error}"] * lines
    assert set(known) <= {"seven"}


@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("length", [1, 200_000], ids=["short", "a body that pauses reading"])
async def test_a_client_that_hangs_up_cancels_its_answer(state: State, length: int, ahead: int) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    class Slow(Echo):
        async def answer(self, question: Question, deadline_s: float) -> Served:
            asked.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            raise Unavailable("not reached")

        def mount(self, app: FastAPI, state: State) -> None:
            add_task(app, state, RAG, self.answer, request_timeout_s=20)

    gone = metrics.REQUESTS.labels("499")._value.get()
    async with listening(create_app("slow", Settings(), Slow([]), state)) as server, asyncio.timeout(10):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = b'{"query": "x"' + b" " * length + b"}"
        writer.write(b"POST /rag HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await asked.wait()
        for n in range(ahead):
            writer.write(b"GET /health?%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % n)
            await asyncio.sleep(0.02)
        writer.transport.abort()
        await cancelled.wait()
        while metrics.REQUESTS.labels("499")._value.get() == gone:
            await asyncio.sleep(0)


async def test_the_schema_describes_the_route_that_starlette_serves(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    route = schema["paths"]["/rag"]["post"]
    assert route["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Question"}
    assert set(route["responses"]) == {"200", "400", "403", "413", "422", "429", "500", "502", "503", "504"}
    assert {"Question", "Answer", "Document", "Usage"} <= set(schema["components"]["schemas"])
    assert schema["components"]["schemas"]["Question"]["required"] == ["query"]


async def test_a_load_that_cannot_be_told_costs_its_header_and_not_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    def load() -> str:
        raise ZeroDivisionError("a bug")

    state = State(ready=True, replica="r1", load=load)
    assert state.headers() == ((b"x-replica", b"r1"),)
    assert "the load is not known" in caplog.text


@pytest.mark.parametrize("path", ["/health", "/ready", "/info", "/metrics", "/openapi.json", "/docs"])
async def test_a_head_is_answered_as_its_get(path: str, client: httpx.AsyncClient) -> None:
    head, got = await client.head(path), await client.get(path)
    assert (head.status_code, head.headers["content-type"]) == (got.status_code, got.headers["content-type"])
    assert (await client.head("/rag")).status_code == 405


@pytest.mark.attack
async def test_a_path_with_a_line_feed_is_no_route(client: httpx.AsyncClient) -> None:
    """Starlette's routes end where a line does: such a request passed the counting and the log by."""
    for path in ("/rag%0A", "/rag%0a%0a", "/rag%00", "/rag%0D"):
        assert (await client.post(path, json={"query": "x"})).status_code == 404
    for path in ("/info%0A", "/health%0A"):
        assert (await client.get(path)).status_code == 404
