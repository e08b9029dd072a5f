"""ASGI middleware of every design: request id, Host, Origin and key checks, a limit on the body, metrics."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servers.http.auth import HostCheck, bears
from servers.http.endpoints import ENDPOINTS, Endpoint
from servers.telemetry import logs, metrics

REQUEST_ID = "X-Request-Id"
log = logging.getLogger(__name__)
_MAX_ID_LENGTH = 128
_UNKNOWN = Endpoint("")  # stands for every path that is not in the table


def _allow(_: Mapping[bytes, bytes]) -> None:
    return None


class RequestMiddleware:
    """Wraps an ASGI application.

    Answers 403 to a Host or an Origin of another site, 401 without one of the keys, 413 to a body over the limit, 500
    to an unexpected exception.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        answers: Mapping[str, ASGIApp] | None = None,
        max_body_bytes: int,
        describe: Callable[[], Mapping[str, str]] = dict,
        access_log: bool = False,
        keys: Sequence[str] = (),
        checks: tuple[HostCheck, HostCheck] = (_allow, _allow),
    ) -> None:
        """`answers`: applications for tasks, by path, used in place of `app`. `checks`: of Host and of Origin.

        `describe`: further headers of answers about tasks and readiness.
        """
        self._app = app
        self._answers = answers or {}
        self._describe = describe
        self._keys = keys
        self._about_host, self._about_origin = checks
        self._max_body_bytes = max_body_bytes
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = _echoed(_text(headers, b"x-request-id")) or uuid.uuid4().hex
        scope.setdefault("state", {}).update(request_id=request_id, has_key=bool(self._keys))
        logs.request_id.set(request_id)
        path = scope["path"]
        endpoint = ENDPOINTS.get(path, _UNKNOWN)
        send, has_begun = _describing(send, request_id, endpoint, describe=self._describe, access_log=self._access_log)
        refusal = self._refusal(scope, headers, is_open=endpoint.is_open)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # the answer to a GET, of which uvicorn sends the headers alone
            scope = {**scope, "method": "GET"}
        try:
            is_asked = scope["method"] == endpoint.method
            answer = self._answers.get(path, self._app) if is_asked else self._app
            await answer(scope, self._counting(receive), send)
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
        wrong = self._about_host(headers) or (None if is_open else self._about_origin(headers))
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


def _describing(
    send: Send, request_id: str, endpoint: Endpoint, *, describe: Callable[[], Mapping[str, str]], access_log: bool
) -> tuple[Send, Callable[[], bool]]:
    """Add the request id and the headers of `describe`; count, time and optionally log the answers of tasks."""
    started_s = time.monotonic()
    begun = False

    async def described(message: Message) -> None:
        nonlocal begun
        if message["type"] == "http.response.start":
            begun = True
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = request_id
            if endpoint.says_load:
                headers.update(describe())
            if endpoint.task is not None:
                metrics.REQUESTS.labels(str(message["status"])).inc()
                seconds = time.monotonic() - started_s
                metrics.REQUEST_SECONDS.observe(seconds)
                if access_log:
                    log.info("answered", extra={"status": message["status"], "seconds": round(seconds, 6)})
        await send(message)

    return described, lambda: begun
