"""The application that uvicorn calls: guards, tasks, and FastAPI for every other path."""

import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, nullcontext
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servers.errors import BodyTooLarge, ClientGone
from servers.http.auth import bears
from servers.http.endpoints import ENDPOINTS, Endpoint
from servers.http.exchange import EXCHANGE, Exchange, Reply, problem
from servers.http.guard import Guard
from servers.http.state import State
from servers.http.task import Task, count, echoed, new_id
from servers.settings import Settings
from servers.telemetry import logs, tracing

log = logging.getLogger(__name__)
_UNKNOWN = Endpoint("")  # stands for every path that is not in the table


class Front:
    """An ASGI application. Answers 500 to an unexpected exception."""

    def __init__(self, app: ASGIApp, settings: Settings, state: State) -> None:
        self._app = app
        self._state = state
        self._guard = Guard(settings)
        self._link_key = settings.link_key

    def task_for(self, path: bytes, lines: Sequence[tuple[bytes, bytes]]) -> tuple[Task, dict[bytes, bytes]] | None:
        """The task that a POST asks for, with the headers by name; None if there is none or the request is refused.

        A transport that has the whole body may answer by the task, which costs less than ASGI's messages.
        """
        task = self._state.tasks.get(path.decode("latin-1"))
        if task is None or task.endpoint.method != "POST":
            return None
        headers = dict(lines)
        refused = self._guard.refusal(task.endpoint.path, headers, lines, is_open=task.endpoint.is_open)
        return None if refused is not None else (task, headers)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks, by path."""
        return self._state.tasks

    def is_fleet(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether they have the key of this replica's fleet, which checks its clients itself."""
        given = headers.get(b"authorization", b"").decode("latin-1")
        return self._link_key is not None and bears(given, (self._link_key,))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        endpoint = ENDPOINTS.get(scope["path"], _UNKNOWN)
        scope.setdefault("state", {}).update(has_key=bool(self._guard.keys))
        refused = self._guard.refusal(scope["path"], headers, scope["headers"], is_open=endpoint.is_open)
        task = self._state.tasks.get(endpoint.path)
        try:
            if task is not None and refused is None and scope["method"] == endpoint.method:
                await self._answer_task(task, headers, scope, receive, send)
            else:
                await self._answer_other(endpoint, refused, headers, scope, receive, send)
        except ClientDisconnect:
            log.debug("the client closed the connection before its body was complete")
        except ClientGone:
            log.debug("the client closed the connection before its answer was complete")

    async def _answer_task(
        self, task: Task, headers: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        exchange = Exchange(scope["path"], headers, read_body=partial(_body, receive, self._guard))
        scope["state"][EXCHANGE] = exchange
        reply = await task.answer(exchange)
        if reply.parts is None:
            await _send(reply, send)
            return
        async with aclosing(reply.parts) as parts:
            await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
            await exchange.within(_send_parts(parts, send), timeout_s=None)

    async def _answer_other(
        self,
        endpoint: Endpoint,
        refused: Reply | None,
        headers: dict[bytes, bytes],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        request_id = echoed(headers) or new_id()
        logs.request_id.set(request_id)
        started_s = time.monotonic()
        has_begun = False

        async def described(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                about = self._state.headers() if endpoint.says_load else ()
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *about]
                if endpoint.task is not None:
                    count(message["status"], time.monotonic() - started_s, access_log=self._state.access_log)
            await send(message)

        with tracing.request(scope["method"], scope["path"], headers) if endpoint.task else nullcontext():
            try:
                if refused is not None:
                    await _send(refused, described)
                    return
                if scope["method"] == "HEAD":  # the answer to a GET, of which uvicorn sends the headers alone
                    scope = {**scope, "method": "GET"}
                if b"content-length" not in headers:
                    receive = self._counting(receive)
                await self._app(scope, receive, described)
            except ClientDisconnect:
                raise
            except Exception:
                log.exception("a request failed")  # the client learns nothing internal
                if has_begun:
                    raise  # part of the answer is sent: uvicorn closes the connection
                await _send(problem(500, "internal error"), described)

    def _counting(self, receive: Receive) -> Receive:
        """Refuse a body that exceeds the limit without a declared length."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._guard.max_body_bytes:
                raise HTTPException(413, self._guard.too_large)
            return message

        return counted


async def _body(receive: Receive, guard: Guard) -> bytes:
    """The whole body. Raises BodyTooLarge, or ClientDisconnect if its end does not come."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > guard.max_body_bytes:
            raise BodyTooLarge(guard.too_large)
        if not message.get("more_body", False):
            return bytes(body)


async def _send(reply: Reply, send: Send) -> None:
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _send_parts(parts: AsyncIterator[bytes], send: Send) -> None:
    async for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
