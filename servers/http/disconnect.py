"""An answer, unless its time is over or its client has gone. Computes nothing."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from servers.errors import ClientGone, DeadlinePassed, Unavailable
from servers.tasks import beside

__all__ = ["or_hang_up"]

T = TypeVar("T")


async def or_hang_up(request: Request, answer: Coroutine[Any, Any, T], *, timeout_s: float) -> T:
    """The awaited answer. Raises DeadlinePassed after `timeout_s`, ClientGone when the client closes the connection.

    uvicorn cancels what is not answered when the drain time is over: that client is told Unavailable.

    The body must have been read: the connection's next message is its end, and a task waits for that, because asking
    `is_disconnected` now and then would notice late. The answer is cancelled then, so that nobody computes for nobody.
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
