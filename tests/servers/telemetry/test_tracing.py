"""Traces of a running fleet, as a real OTLP/HTTP receiver gets them; and what is passed on where nobody traces."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from servers.settings import SettingsError
from servers.telemetry import tracing
from tests.servers.running import QUESTION, running

TRACE, CLIENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = {"traceparent": f"00-{TRACE}-{CLIENT}-01", "tracestate": "vendor=1"}
STUB = ["--profile", "stub", "--min-replicas", "1", "--max-replicas", "1"]


@asynccontextmanager
async def serving(*routes: web.RouteDef) -> AsyncIterator[str]:
    """An HTTP server of ours; its base address."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Receiver:
    """Keeps every span it is sent, as (service, span)."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []

    async def take(self, request: web.Request) -> web.Response:
        for group in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            [service] = [value.value.string_value for value in group.resource.attributes if value.key == "service.name"]
            self.spans += [(service, span) for scope in group.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")

    def one(self, service: str, name: str) -> Any:
        [span] = [span for where, span in self.spans if (where, span.name) == (service, name)]
        return span


def told(span: Any) -> dict[str, object]:
    return {value.key: value.value.string_value or value.value.int_value for value in span.attributes}


async def test_one_trace_leads_from_the_client_to_the_stages_of_a_replica(tmp_path: Path) -> None:
    receiver = Receiver()
    async with serving(web.post("/v1/traces", receiver.take)) as endpoint:
        flags = [*STUB, "--base-port", "19000", "--otlp-endpoint", endpoint]
        async with running(tmp_path, "scaled", *flags) as (_, client):
            answer = await client.post("/rag", json=QUESTION, headers={**PARENT, "X-Request-Id": "mine"})
            assert answer.status_code == 200
            assert (await client.get("/health")).status_code == 200
    fleet, attempt = receiver.one("ragbench-scaled", "POST /rag"), receiver.one("ragbench-scaled", "try")
    replica = receiver.one("ragbench-batched", "POST /rag")
    queue, generate = (receiver.one("ragbench-batched", stage) for stage in ("queue", "generate"))
    assert len(receiver.spans) == 5
    assert {span.trace_id.hex() for _, span in receiver.spans} == {TRACE}
    assert fleet.parent_span_id.hex() == CLIENT
    assert attempt.parent_span_id == fleet.span_id
    assert replica.parent_span_id == attempt.span_id
    assert {queue.parent_span_id, generate.parent_span_id} == {replica.span_id}
    assert [span.kind for span in (fleet, attempt, replica, queue)] == [2, 3, 2, 1], "server, client, server, internal"
    assert told(fleet) == told(replica)
    assert told(fleet)["http.response.status_code"] == 200
    assert told(fleet)["rag.request_id"] == "mine"
    assert told(attempt) == {"rag.replica": f"127.0.0.1:{answer.headers['X-Replica']}", "rag.attempt": 1}
    assert queue.end_time_unix_nano == generate.start_time_unix_nano
    assert generate.end_time_unix_nano - generate.start_time_unix_nano >= 200_000, "the stub sleeps for 0.2 ms"
    assert replica.start_time_unix_nano <= queue.start_time_unix_nano
    assert generate.end_time_unix_nano <= replica.end_time_unix_nano <= fleet.end_time_unix_nano


@pytest.mark.slow
async def test_each_try_of_a_request_has_its_span(tmp_path: Path) -> None:
    receiver = Receiver()

    async def ready(request: web.Request) -> web.Response:
        return web.json_response({"status": "ready"})

    async def rag(request: web.Request) -> web.Response:
        return web.json_response({"detail": "broken"}, status=500)

    routes = [web.post("/v1/traces", receiver.take), web.get("/ready", ready), web.post("/rag", rag)]
    async with serving(*routes) as url:
        flags = [*STUB, "--base-port", "19080", "--routing", "round_robin", "--otlp-endpoint", url]
        async with running(tmp_path, "scaled", *flags) as (_, client):
            assert (await client.post("/register", json={"url": url})).status_code == 200
            for _ in range(2):
                assert (await client.post("/rag", json=QUESTION)).status_code == 200
    tries = [span for service, span in receiver.spans if span.name == "try"]
    [second] = [span for span in tries if told(span)["rag.attempt"] == 2]
    [first] = [span for span in tries if span.parent_span_id == second.parent_span_id and span != second]
    assert (told(first)["rag.attempt"], told(first)["rag.replica"]) == (1, url.removeprefix("http://"))
    assert (first.status.code, second.status.code) == (2, 0), "error, unset"
    assert first.end_time_unix_nano <= second.start_time_unix_nano


@pytest.mark.slow
async def test_an_endpoint_that_nobody_listens_on_costs_no_answer_and_no_clean_end(tmp_path: Path) -> None:
    flags = ["--profile", "stub", "--otlp-endpoint", "http://127.0.0.1:1"]
    async with running(tmp_path, "baseline", *flags) as (server, client):
        assert (await client.post("/rag", json=QUESTION)).status_code == 200
    assert server.failure() == "the server exited with code 0"


@pytest.mark.slow
async def test_without_tracing_a_balancer_passes_the_headers_on_unchanged(tmp_path: Path) -> None:
    seen: list[dict[str, str]] = []

    async def ready(request: web.Request) -> web.Response:
        return web.json_response({"status": "ready"})

    async def rag(request: web.Request) -> web.Response:
        seen.append({name: value for name, value in request.headers.items() if name.startswith("trace")})
        return web.json_response({**QUESTION, "result": "", "documents": [], "model": "", "usage": {}})

    async with serving(web.get("/ready", ready), web.post("/rag", rag)) as url:
        flags = [*STUB, "--base-port", "19050", "--routing", "round_robin"]
        async with running(tmp_path, "scaled", *flags) as (_, client):
            assert (await client.post("/register", json={"url": url})).status_code == 200
            while not seen:
                assert (await client.post("/rag", json=QUESTION, headers=PARENT)).status_code == 200
    assert seen == [PARENT]


def test_nothing_happens_where_it_is_not_configured() -> None:
    tracing.configure("batched", endpoint=None)
    with tracing.try_span(replica="8000", attempt=1):
        assert tracing.headers() == {}
    tracing.stages({"queue": 0.1})
    tracing.close()


def test_a_missing_extra_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "servers.telemetry.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"otlp_endpoint: needs OpenTelemetry: pip install 'ragbench\[tracing\]'"):
        tracing.configure("batched", endpoint="http://127.0.0.1:4318")
