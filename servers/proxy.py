"""`POST /rag` of a fleet: the request as it came to a replica, the answer as it came back. Chooses no replica."""

import time

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from servers.api import State, add_handler
from servers.balancer import Balancer
from servers.deadline import time_limit_s
from servers.duplicates import Duplicates, of_request
from servers.envelope import REQUEST_ID
from servers.hang_up import or_hang_up
from servers.reply import Reply

__all__ = ["add_proxy_route"]

_PASSED_ON = ("Content-Type", "traceparent", "tracestate")
_REMEMBERED_BYTES = 65_536


def add_proxy_route(app: FastAPI, state: State, balancer: Balancer, *, request_timeout_s: float) -> None:
    """The body goes through unread: the replica validates it. The request keeps its id and what is left of its time."""
    state.passes_on = True
    known: Duplicates[Reply] = Duplicates(size=_size, keep=_is_small_answer)

    async def rag(request: Request) -> Response:
        state.require_ready()
        limit_s = time_limit_s(request.headers, request_timeout_s)
        deadline_s = time.monotonic() + limit_s
        body = await request.body()
        headers = {REQUEST_ID: request.state.request_id}
        headers |= {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        if REQUEST_ID in request.headers:
            asking = known.once(
                of_request(request.state.request_id, body),
                lambda: balancer.forward(body, headers, deadline_s=deadline_s),
            )
        else:
            asking = balancer.forward(body, headers, deadline_s=deadline_s)
        reply = await or_hang_up(request, asking, timeout_s=limit_s)
        if isinstance(reply.body, bytes):
            return Response(reply.body, reply.status, reply.headers)
        return StreamingResponse(reply.body, reply.status, reply.headers)

    add_handler(app, state, rag)


def _is_small_answer(reply: Reply) -> bool:
    return reply.status == 200 and isinstance(reply.body, bytes) and len(reply.body) <= _REMEMBERED_BYTES


def _size(reply: Reply) -> int:
    body = len(reply.body) if isinstance(reply.body, bytes) else 0
    return body + sum(map(len, reply.headers.values()))
