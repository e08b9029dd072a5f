"""The requests of one task: their time limit, their duplicates, their errors, their counts and spans."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from secrets import token_hex

from fastapi.exceptions import RequestValidationError
from prometheus_client import Counter
from starlette.requests import ClientDisconnect

from servers.errors import QuestionFailed, RequestError, UpstreamFailed
from servers.http.deduplication import Duplicates, of_request
from servers.http.endpoints import Endpoint
from servers.http.exchange import Exchange, Reply, failed, problem
from servers.http.headers import time_limit_s
from servers.http.state import State
from servers.telemetry import logs, metrics, tracing

Respond = Callable[[Exchange, bytes, float], Awaitable[Reply]]
"""(exchange, its body, its deadline on the monotonic clock) -> the reply. Raises RequestError."""
log = logging.getLogger(__name__)
_MAX_ID_LENGTH = 128


class Task:
    """Answers every request with a reply, within the time limit; one that is sent again, by its first reply."""

    def __init__(self, endpoint: Endpoint, respond: Respond, state: State, *, request_timeout_s: float) -> None:
        self.endpoint = endpoint
        self._respond = respond
        self._state = state
        self._request_timeout_s = request_timeout_s
        self._known = Duplicates()

    async def answer(self, exchange: Exchange) -> Reply:
        """The reply, with all headers of this server. Raises ClientDisconnect if the body does not come."""
        started_s = time.monotonic()
        exchange.request_id = request_id = echoed(exchange.headers) or new_id()
        logs.request_id.set(request_id)
        with tracing.request(self.endpoint.method, exchange.path, exchange.headers):
            try:
                reply = await self._reply(exchange)
            except ClientDisconnect:
                raise
            except RequestError as error:
                if isinstance(error, QuestionFailed | UpstreamFailed):
                    log.warning("a question failed: %s", error)
                reply = failed(error)
            except RequestValidationError as error:
                reply = invalid(error)
            except Exception:
                log.exception("a request failed")  # the client learns nothing internal
                reply = problem(500, "internal error")
            tracing.answered(reply.status, request_id)
        count(reply.status, time.monotonic() - started_s, access_log=self._state.access_log)
        about = (b"x-request-id", request_id.encode())
        return reply._replace(headers=(*reply.headers, about, *self._state.headers()))

    async def _reply(self, exchange: Exchange) -> Reply:
        self._state.require_ready()
        limit_s = time_limit_s(exchange.headers, self._request_timeout_s)
        body = exchange.body if exchange.read_body is None else await exchange.read_body()
        responding: Callable[[], Awaitable[Reply]] = partial(self._respond, exchange, body, time.monotonic() + limit_s)
        if b"x-request-id" in exchange.headers:
            responding = partial(self._known.once, of_request(exchange.request_id, body), responding)
        return await exchange.within(responding(), timeout_s=limit_s)


def echoed(headers: Mapping[bytes, bytes]) -> str:
    """The client's own id if it is fit for a header and a log line, otherwise an empty string."""
    name = headers.get(b"x-request-id", b"")
    return name.decode() if len(name) <= _MAX_ID_LENGTH and name.isascii() and name.decode().isprintable() else ""


def new_id() -> str:
    """An id of 32 hexadecimal digits."""
    return token_hex(16)


def invalid(error: RequestValidationError) -> Reply:
    """FastAPI's own form of a 422 without the input, which may be large."""
    return problem(422, [{key: part[key] for key in ("loc", "msg", "type")} for part in error.errors()])


def count(status: int, seconds: float, *, access_log: bool) -> None:
    """Count the answer to a request of a task, and log it if asked to."""
    _counted(status).inc()
    metrics.REQUEST_SECONDS.observe(seconds)
    if access_log:
        log.info("answered", extra={"status": status, "seconds": round(seconds, 6)})


@cache
def _counted(status: int) -> Counter:
    return metrics.REQUESTS.labels(str(status))
