"""Awaits an answer until its time limit or until its client disconnects."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from servers.errors import ClientGone, DeadlinePassed, Unavailable
from servers.tasks import beside

T = TypeVar("T")


async def or_hang_up(request: Request, answer: Coroutine[Any, Any, T], *, timeout_s: float) -> T:
    """The answer. Raises DeadlinePassed after `timeout_s`, ClientGone when the client closes the connection.

    Raises Unavailable when uvicorn cancels the request at the end of the drain time.

    The body must have been read, so that the next message is the disconnect. A task waits for it and cancels the
    answer; polling `is_disconnected` would notice late.
    """
    working = asyncio.current_task()
    assert working is not None, "a handler runs in a task"
    is_gone = False

    async def watch() -> None:
        nonlocal is_gone
        await _disconnect(request)
        is_gone = True
        working.cancel()

    limit = asyncio.timeout(timeout_s)
    try:
        with beside(watch()):
            async with limit:
                return await answer
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlinePassed(f"no answer within {timeout_s:g} s") from None
    except asyncio.CancelledError:
        if is_gone:
            working.uncancel()
            raise ClientGone("the client closed the connection") from None
        raise Unavailable("the server stopped before the answer was ready", retry_after_s=1) from None


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
