"""ASGI middleware of every design: request id, Host, Origin and key checks, a limit on the body, metrics."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import nullcontext

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servers.http.auth import about_origin, bears, host_check
from servers.http.endpoints import ENDPOINTS, Endpoint
from servers.settings import Settings
from servers.telemetry import logs, metrics, tracing

REQUEST_ID = "X-Request-Id"
log = logging.getLogger(__name__)
_MAX_ID_LENGTH = 128
_UNKNOWN = Endpoint("")  # stands for every path that is not in the table


class RequestMiddleware:
    """Wraps an ASGI application.

    Answers 403 to a Host or an Origin of another site, 401 without one of the keys, 413 to a body over the limit, 500
    to an unexpected exception.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        *,
        answers: Mapping[str, ASGIApp] | None = None,
        describe: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """`answers`: applications for tasks, by path, used in place of `app`.

        `describe`: further headers of answers about tasks and readiness.
        """
        self._app = app
        self._answers = answers or {}
        self._describe = describe
        self._keys = settings.keys()
        self._about_host = host_check(settings.host, settings.hosts)
        self._max_body_bytes = settings.max_body_bytes
        self._access_log = settings.access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = _echoed(_text(headers, b"x-request-id")) or uuid.uuid4().hex
        scope.setdefault("state", {}).update(request_id=request_id, has_key=bool(self._keys))
        logs.request_id.set(request_id)
        endpoint = ENDPOINTS.get(scope["path"], _UNKNOWN)
        with tracing.request(scope) if endpoint.task else nullcontext():
            send, has_begun = self._describing(send, request_id, endpoint)
            try:
                answer = self._refusal(scope, headers, is_open=endpoint.is_open)
                if scope["method"] == "HEAD":  # the answer to a GET, of which uvicorn sends the headers alone
                    scope = {**scope, "method": "GET"}
                if answer is None:
                    is_asked = scope["method"] == endpoint.method
                    answer = self._answers.get(endpoint.path, self._app) if is_asked else self._app
                if b"content-length" not in headers:
                    receive = self._counting(receive)
                await answer(scope, receive, send)
            except ClientDisconnect:
                log.debug("request %s: the client closed the connection before its body was complete", request_id)
            except Exception:
                log.exception("a request failed")  # the client learns nothing internal
                if has_begun():
                    raise  # part of the answer is sent: uvicorn closes the connection
                await JSONResponse({"detail": "internal error"}, status_code=500)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes], *, is_open: bool) -> ASGIApp | None:
        """The answer to a request that is refused, or None."""
        path = scope["path"]
        if len(headers) != len(scope["headers"]) and sum(name == b"host" for name, _ in scope["headers"]) > 1:
            return _problem(400, "there must be one Host")
        wrong = self._about_host(headers) or (None if is_open else about_origin(headers))
        if wrong is not None:
            return _problem(403, wrong)
        if self._keys and not is_open and not bears(_text(headers, b"authorization"), self._keys):
            return _problem(401, "a bearer key is needed here", {"WWW-Authenticate": "Bearer"})
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            return _problem(413, self._too_large())
        if not path.isprintable():  # Starlette takes "/rag\n" for "/rag", which is counted and logged by its name
            return _problem(404, "Not Found")
        return None

    def _describing(self, send: Send, request_id: str, endpoint: Endpoint) -> tuple[Send, Callable[[], bool]]:
        """Add headers to the answer, and count, time, trace and log that of a task. -> and whether it has begun."""
        started_s = time.monotonic()
        begun = False

        async def described(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                if endpoint.says_load:
                    headers.update(self._describe())
                if endpoint.task is not None:
                    tracing.answered(message["status"], request_id)
                    metrics.REQUESTS.labels(str(message["status"])).inc()
                    seconds = time.monotonic() - started_s
                    metrics.REQUEST_SECONDS.observe(seconds)
                    if self._access_log:
                        log.info("answered", extra={"status": message["status"], "seconds": round(seconds, 6)})
            await send(message)

        return described, lambda: begun

    def _counting(self, receive: Receive) -> Receive:
        """Refuse a body that exceeds the limit without a declared length."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return counted

    def _too_large(self) -> str:
        return f"body: must be at most {self._max_body_bytes} bytes"


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)


def _echoed(request_id: str) -> str:
    """The client's own id if it is fit for a header and a log line, otherwise an empty string."""
    return request_id if len(request_id) <= _MAX_ID_LENGTH and request_id.isascii() and request_id.isprintable() else ""
