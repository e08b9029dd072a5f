"""Routes, headers, errors to statuses. Knows no design and runs no model."""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from servers.errors import SCOPE, QuestionFailed, RequestError, Unavailable, UpstreamFailed
from servers.http.auth import is_trusted
from servers.http.deduplication import Duplicates, of_request
from servers.http.disconnect import or_hang_up
from servers.http.endpoints import HEALTH, INFO, METRICS, READY, Endpoint
from servers.http.headers import LOAD, time_limit_s
from servers.http.middleware import REQUEST_ID, RequestMiddleware
from servers.http.openapi import add_task_route, describe
from servers.http.wire import Served
from servers.settings import Settings
from servers.tasks import Background
from servers.telemetry import metrics, tracing

log = logging.getLogger(__name__)
_PUBLIC_INFO = ("design", "profile", "embedder", "generator", "versions")
"""Fields of `GET /info` for everybody; the others need a key or a request from this machine."""
Respond = Callable[[Request, bytes, float], Awaitable[Response]]
"""(request, its body, its deadline on the monotonic clock) -> the response. Raises RequestError."""


@dataclass(slots=True)
class State:
    """State of a server, set by `serve.py` and by its design.

    `load` is the value of X-Load; `hangs` says whether the engine makes no progress. A proxy, which `passes_on`
    requests, leaves those headers to its replicas. `answers` are the applications that answer tasks, by path.
    """

    ready: bool = False
    draining: bool = False
    replica: str = ""
    load: Callable[[], str] | None = None
    hangs: Callable[[], bool] | None = None
    passes_on: bool = False
    answers: dict[str, ASGIApp] = field(default_factory=dict)

    def require_ready(self) -> None:
        """Raise Unavailable unless requests may be served."""
        if not self.ready:
            raise Unavailable("the server is still loading", retry_after_s=1)
        if self.draining:
            raise Unavailable("the server is draining", retry_after_s=1)

    def headers(self) -> dict[str, str]:
        """Headers of every answer about tasks and readiness, refusals included."""
        if self.passes_on:
            return {}
        headers = {"X-Replica": self.replica}
        if self.load is not None:
            try:
                headers[LOAD] = self.load()
            except Exception:
                log.exception("the load is not known; the answer is sent without X-Load")
        return headers


class Design(Protocol):
    """A server design, as the `create(settings)` of its module returns it."""

    async def start(self, background: Background) -> None:
        """Load and warm up; the server is ready when this returns. Long-lived tasks belong to `background`."""

    async def stop(self) -> None:
        """Release everything. No request is running."""

    def info(self) -> dict[str, Any]:
        """Fields of `GET /info` that this design adds."""

    def mount(self, app: FastAPI, state: State) -> None:
        """Add the design's routes."""


@runtime_checkable
class Measured(Protocol):
    """A design whose `/metrics` covers more than its own process."""

    async def exposition(self) -> str:
        """The text of `GET /metrics`."""


def create_app(name: str, settings: Settings, design: Design, state: State) -> ASGIApp:
    """The application round a design: `/health`, `/ready`, `/info`, `/metrics`, middleware and error answers."""
    app = FastAPI(title=f"ragbench {name}", redoc_url=None)

    @app.get(HEALTH.path)
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get(READY.path)
    async def ready() -> dict[str, str]:
        state.require_ready()
        if state.hangs is not None and state.hangs():
            raise Unavailable("the pipeline hangs", retry_after_s=1)
        return {"status": "ready"}

    @app.get(INFO.path)
    async def info(request: Request) -> dict[str, Any]:
        fields = {"design": name, "replica": state.replica, "settings": settings.public(), **design.info()}
        return fields if is_trusted(request) else {key: fields[key] for key in _PUBLIC_INFO if key in fields}

    @app.get(METRICS.path, response_class=PlainTextResponse)
    async def prometheus() -> Response:
        text = await design.exposition() if isinstance(design, Measured) else generate_latest()
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    design.mount(app, state)
    describe(app, settings)
    app.add_exception_handler(RequestError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    return RequestMiddleware(app, settings, answers=state.answers, describe=state.headers)


def add_responder(
    app: FastAPI, state: State, endpoint: Endpoint, respond: Respond, *, request_timeout_s: float
) -> None:
    """Answer a task by `respond`, within the time limit, and a request that is sent again by its first response.

    FastAPI, whose layers cost more than the rest of the exchange, has the route for its schema and its 405s.
    """
    known = Duplicates()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            state.require_ready()
            limit_s = time_limit_s(request.headers, request_timeout_s)
            body = await request.body()
            responding: Callable[[], Awaitable[Response]] = partial(respond, request, body, time.monotonic() + limit_s)
            if REQUEST_ID in request.headers:
                responding = partial(known.once, of_request(request.state.request_id, body), responding)
            response = await or_hang_up(request, responding(), timeout_s=limit_s)
        except RequestError as error:
            response = await _answer_error(request, error)
        except RequestValidationError as error:
            response = await _answer_invalid(request, error)
        except HTTPException as error:
            response = JSONResponse({"detail": error.detail}, error.status_code)
        await response(scope, receive, send)

    state.answers[endpoint.path] = answer
    add_task_route(app, endpoint)


def add_task(
    app: FastAPI,
    state: State,
    endpoint: Endpoint,
    answer: Callable[[Any, float], Awaitable[Served]],
    *,
    request_timeout_s: float,
) -> None:
    """Add a task: validate the question, answer it, describe the stages in the headers.

    `answer` gets the question and its deadline on the monotonic clock.
    """
    model = endpoint.question
    assert model is not None, "a task has a question"

    async def respond(request: Request, body: bytes, deadline_s: float) -> Response:
        served = await answer(_read(model, body), deadline_s)
        metrics.QUEUE_WAIT.observe(served.stage_s.get("queue", 0.0))
        tracing.stages(served.stage_s)
        return Response(served.answer.model_dump_json(), media_type="application/json", headers=_described(served))

    add_responder(app, state, endpoint, respond, request_timeout_s=request_timeout_s)


def _read(model: type[BaseModel], body: bytes) -> BaseModel:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError([{**part, "loc": ("body", *part["loc"])} for part in error.errors()]) from None


def _described(served: Served) -> dict[str, str]:
    timing = ", ".join(f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in served.stage_s.items())
    headers = {"Server-Timing": timing, "X-Batch-Size": str(served.batch_size)}
    return headers | ({"X-Batch-Close": served.close_reason} if served.close_reason else {})


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    if isinstance(error, QuestionFailed | UpstreamFailed):
        log.warning("a question failed: %s", error)
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if error.scope is not None:
        headers[SCOPE] = error.scope
    return JSONResponse({"detail": str(error)}, status_code=error.status, headers=headers)


async def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's own form without the input, which may be large."""
    assert isinstance(error, RequestValidationError)
    detail = [{key: part[key] for key in ("loc", "msg", "type")} for part in error.errors()]
    return JSONResponse({"detail": detail}, status_code=422)
