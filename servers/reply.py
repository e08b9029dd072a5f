"""What came back from a replica: whether it may be passed on, and its body, whole or in parts. Asks nobody."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp

from servers.errors import SCOPE, QuestionFailed, Unavailable

__all__ = ["WHOLE_BYTES", "Reply", "TryFailed", "check", "in_parts", "read_whole"]

WHOLE_BYTES = 1 << 20  # an answer up to this length is read before it is passed on, so that half of one is no answer
_ANSWERS = (200, 400, 413, 415, 422, 429, 431, 504)  # passed on; any other status is a fault of the replica's


@dataclass(frozen=True, slots=True)
class Reply:
    """A replica's answer, to be passed on as it is: whole, or in parts as they come."""

    status: int
    headers: dict[str, str]
    body: bytes | AsyncGenerator[bytes, None]


class TryFailed(Exception):
    """A try that another replica may answer.

    Nobody listens there; or nothing comes from there; or it answered, but not as it should; or it is well, and says
    politely that it is busy.
    """

    def __init__(
        self,
        why: str,
        *,
        is_unreachable: bool = False,
        is_silent: bool = False,
        is_answer: bool = False,
        is_polite: bool = False,
    ) -> None:
        super().__init__(why)
        self.is_unreachable = is_unreachable
        self.is_silent = is_silent
        self.is_answer = is_answer
        self.is_polite = is_polite


def check(answer: aiohttp.ClientResponse, headers: Mapping[str, str]) -> None:
    """Raise TryFailed on an answer that is not one to pass on."""
    if answer.status == Unavailable.status:
        raise TryFailed("it is draining or not ready", is_polite=True)
    is_own = answer.status >= QuestionFailed.status and answer.headers.get(SCOPE) == "request"
    if answer.status not in _ANSWERS and not is_own:
        raise TryFailed(f"it answered {answer.status}", is_answer=True)
    asked, echoed = headers.get("X-Request-Id"), answer.headers.get("X-Request-Id")
    if echoed is not None and asked is not None and echoed != asked:
        raise TryFailed("it answered another request", is_answer=True)


async def read_whole(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises TryFailed on one that should be JSON and is not."""
    content = await answer.read()
    if answer.status == 200:
        if answer.content_type != "application/json":
            raise TryFailed(f"it answered {answer.content_type}", is_answer=True)
        try:
            json.loads(content)
        except (ValueError, RecursionError):
            raise TryFailed("it answered what is no JSON", is_answer=True) from None
    return content


async def in_parts(
    answer: aiohttp.ClientResponse, held: AsyncExitStack, *, left_s: float
) -> AsyncGenerator[bytes, None]:
    """A long body as it comes, until the deadline; until its end the request counts as outstanding."""
    async with held, asyncio.timeout(left_s):
        async for part in answer.content.iter_any():
            yield part
