"""Awaits a response until its time limit or until its client disconnects."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.requests import Request

from servers.errors import ClientGone, DeadlinePassed, Unavailable

T = TypeVar("T")
_LIMIT, _IS_GONE = "limit", "is_gone"  # keys of a request's state


async def or_hang_up(request: Request, response: Awaitable[T], *, timeout_s: float) -> T:
    """The response. Raises DeadlinePassed after `timeout_s`, ClientGone when the client closes the connection.

    Raises Unavailable when uvicorn cancels the request at the end of the drain time.
    """
    state = request.scope["state"]
    try:
        async with asyncio.timeout(timeout_s) as limit:
            state[_LIMIT] = limit
            return await response
    except TimeoutError:
        if not limit.expired():
            raise
        if state.get(_IS_GONE):
            raise ClientGone("the client closed the connection") from None
        raise DeadlinePassed(f"no answer within {timeout_s:g} s") from None
    except asyncio.CancelledError:
        raise Unavailable("the server stopped before the answer was ready", retry_after_s=1) from None
    finally:
        state.pop(_LIMIT, None)


def hang_up(state: dict[str, Any]) -> None:
    """Have `or_hang_up` raise ClientGone, if it awaits the response to the request with this state.

    The protocol calls this when a connection ends. A task for each request that awaits `http.disconnect` costs more.
    """
    limit: asyncio.Timeout | None = state.get(_LIMIT)
    if limit is not None and not limit.expired():
        state[_IS_GONE] = True
        limit.reschedule(asyncio.get_running_loop().time())
