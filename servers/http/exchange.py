"""One request of a task and its reply, whatever transport brings them. Reads and writes no socket."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from servers.errors import SCOPE, ClientGone, DeadlinePassed, RequestError, Unavailable

T = TypeVar("T")
Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case and values, fit for the wire."""
JSON: Headers = ((b"content-type", b"application/json"),)
EXCHANGE = "exchange"
"""Key of an ASGI request's state, by which the protocol finds the exchange when the connection ends."""
ReadBody = Callable[[], Awaitable[bytes]]


class Reply(NamedTuple):
    """A complete body, or one that comes in `parts`, which must be closed even if they are not sent."""

    status: int
    body: bytes
    headers: Headers = JSON
    parts: AsyncGenerator[bytes, None] | None = None


@dataclass(slots=True, eq=False)
class Exchange:
    """A request. `headers` by name in lower case; of a repeated one the last value.

    The body is here, or is waited for by `read_body`.
    """

    path: str
    headers: Mapping[bytes, bytes]
    body: bytes = b""
    read_body: ReadBody | None = None
    request_id: str = ""
    _limit: asyncio.Timeout | None = field(default=None, init=False)
    _is_gone: bool = field(default=False, init=False)

    def header(self, name: bytes) -> str | None:
        """The value of a header."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def within(self, work: Awaitable[T], *, timeout_s: float | None) -> T:
        """The result of `work`. Raises DeadlinePassed after `timeout_s`, ClientGone when the client hangs up.

        Raises Unavailable when the server cancels the exchange at the end of its drain time.
        """
        try:
            async with asyncio.timeout(timeout_s) as self._limit:
                if self._is_gone:
                    self.hang_up()
                return await work
        except TimeoutError:
            if self._limit is None or not self._limit.expired():
                raise
            if self._is_gone:
                raise ClientGone("the client closed the connection") from None
            raise DeadlinePassed(f"no answer within {timeout_s:g} s") from None
        except asyncio.CancelledError:
            raise Unavailable("the server stopped before the answer was ready", retry_after_s=1) from None
        finally:
            self._limit = None

    def hang_up(self) -> None:
        """Have `within` raise ClientGone, now or when it is next called: the connection has ended."""
        if self._limit is None:
            self._is_gone = True
        elif not self._limit.expired():
            self._is_gone = True
            self._limit.reschedule(asyncio.get_running_loop().time())


def problem(status: int, detail: object, headers: Headers = ()) -> Reply:
    """The reply of an error."""
    body = json.dumps({"detail": detail}, ensure_ascii=False, separators=(",", ":"))
    return Reply(status, body.encode(), JSON + headers)


def failed(error: RequestError) -> Reply:
    """The reply of a request that failed."""
    headers: Headers = ()
    if error.retry_after_s is not None:
        headers += ((b"retry-after", b"%d" % error.retry_after_s),)
    if error.scope is not None:
        headers += ((SCOPE.lower().encode(), error.scope.encode()),)
    return problem(error.status, str(error), headers)
