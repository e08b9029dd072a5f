"""Routes, headers, errors to statuses. Knows no design and runs no model."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, runtime_checkable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp

from servers.errors import RequestError, Unavailable
from servers.http.auth import is_trusted
from servers.http.endpoints import HEALTH, INFO, METRICS, READY, Endpoint
from servers.http.exchange import JSON, Exchange, Headers, Reply, failed
from servers.http.middleware import Front
from servers.http.openapi import add_task_route, describe
from servers.http.state import State
from servers.http.task import Respond, Task, invalid
from servers.http.wire import Served
from servers.settings import Settings
from servers.tasks import Background
from servers.telemetry import metrics, tracing

_PUBLIC_INFO = ("design", "profile", "embedder", "generator", "versions")
"""Fields of `GET /info` for everybody; the others need a key or a request from this machine."""


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
    state.access_log = settings.access_log
    return Front(app, settings, state)


def add_responder(
    app: FastAPI, state: State, endpoint: Endpoint, respond: Respond, *, request_timeout_s: float
) -> None:
    """Answer a task by `respond`. FastAPI, whose layers cost more than all the rest, has the route for its schema."""
    state.tasks[endpoint.path] = Task(endpoint, respond, state, request_timeout_s=request_timeout_s)
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

    async def respond(exchange: Exchange, body: bytes, deadline_s: float) -> Reply:
        served = await answer(_read(model, body), deadline_s)
        metrics.QUEUE_WAIT.observe(served.stage_s.get("queue", 0.0))
        tracing.stages(served.stage_s)
        return Reply(200, served.body, _described(served))

    add_responder(app, state, endpoint, respond, request_timeout_s=request_timeout_s)


def _read(model: type[BaseModel], body: bytes) -> BaseModel:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError([{**part, "loc": ("body", *part["loc"])} for part in error.errors()]) from None


def _described(served: Served) -> Headers:
    timing = ", ".join([f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in served.stage_s.items()])
    headers = (*JSON, (b"server-timing", timing.encode()), (b"x-batch-size", b"%d" % served.batch_size))
    return (*headers, (b"x-batch-close", served.close_reason.encode())) if served.close_reason else headers


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return _response(failed(error))


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _response(invalid(error))


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, {name.decode(): value.decode() for name, value in reply.headers})
