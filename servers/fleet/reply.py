"""What came back from a replica: whether it may be passed on, and its body, whole or in parts. Asks nobody."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp

from servers.errors import SCOPE, EngineEnded, QuestionFailed, QueueFull, Unavailable

__all__ = ["WHOLE_BYTES", "Reply", "TryFailed", "check", "in_parts", "passed_on", "read_bounded", "read_start"]

WHOLE_BYTES = 1 << 20  # an answer up to this length is read before it is passed on, so that half of one is no answer
_ANSWERS = (200, 400, 413, 415, 422, 429, 431, 504)  # passed on; any other status is a fault of the replica's
_PASSED_ON = ("Content-Type", "Server-Timing", "X-Batch-Size", "X-Batch-Close", "X-Replica", "Retry-After", SCOPE)
_FIELD = re.compile(r"[\t -~]*")
_SECONDS = re.compile(r"[0-9]{1,6}")
_JSON, _EVENTS = "application/json", "text/event-stream"


@dataclass(frozen=True, slots=True)
class Reply:
    """A replica's answer, to be passed on as it is: whole, or in parts as they come."""

    status: int
    headers: dict[str, str]
    body: bytes | AsyncGenerator[bytes, None]


class TryFailed(Exception):
    """A try that another replica may answer.

    Nobody listens there; or nothing comes from there; or it answered, but not as it should; or it is well, and says
    politely that it is busy. `is_end`: it ended with the question in it, which may be why. `shed_s`: its queue is full,
    and it says when to come back.
    """

    def __init__(
        self,
        why: str,
        *,
        is_unreachable: bool = False,
        is_silent: bool = False,
        is_answer: bool = False,
        is_polite: bool = False,
        is_end: bool = False,
        shed_s: int | None = None,
    ) -> None:
        super().__init__(why)
        self.is_unreachable = is_unreachable
        self.is_silent = is_silent
        self.is_answer = is_answer
        self.is_polite = is_polite
        self.is_end = is_end
        self.shed_s = shed_s


def check(answer: aiohttp.ClientResponse, headers: Mapping[str, str]) -> None:
    """Raise TryFailed on an answer that is not one to pass on."""
    scope = answer.headers.get(SCOPE)
    if answer.status == Unavailable.status:
        is_end = scope == EngineEnded.scope
        raise TryFailed("its engine ended" if is_end else "it is draining or not ready", is_polite=True, is_end=is_end)
    if answer.status == QueueFull.status and scope == QueueFull.scope:
        after = answer.headers.get("Retry-After", "")
        shed_s = int(after) if _SECONDS.fullmatch(after) else 1
        raise TryFailed("its queue is full", is_answer=True, is_polite=True, shed_s=shed_s)
    is_own = answer.status >= QuestionFailed.status and scope == QuestionFailed.scope
    if answer.status not in _ANSWERS and not is_own:
        raise TryFailed(f"it answered {answer.status}", is_answer=True)
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise TryFailed("it answered in an encoding that it was not asked for", is_answer=True)
    asked, echoed = headers.get("X-Request-Id"), answer.headers.get("X-Request-Id")
    if echoed is not None and asked is not None and echoed != asked:
        raise TryFailed("it answered another request", is_answer=True)


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that go back to the client. Raises TryFailed where one is not printable ASCII."""
    kept = {name: headers[name] for name in _PASSED_ON if name in headers}
    for name, value in kept.items():
        if not _FIELD.fullmatch(value):
            raise TryFailed(f"its header {name} is not printable ASCII", is_answer=True)
    return kept


async def read_start(answer: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """The body up to some WHOLE_BYTES, and whether that is all of it; nothing yet of events and of long answers.

    Raises TryFailed on a whole body that is not an answer's JSON, and on one that may have been cut off unseen.
    """
    length, is_chunked = answer.content_length, "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
    has_end = length is not None or is_chunked
    is_events = answer.status == 200 and answer.content_type == _EVENTS
    if answer.status == 200 and not is_events and answer.content_type != _JSON:
        raise TryFailed(f"it answered {answer.content_type}", is_answer=True)
    if has_end and (is_events or (length or 0) > WHOLE_BYTES):
        return b"", False
    content, is_whole = await _read(answer, WHOLE_BYTES)
    if is_whole and answer.content_type == _JSON:  # which shows by itself whether it is whole
        _check_json(content, is_success=answer.status == 200)
    elif not has_end:
        raise TryFailed("it answered with neither a length nor chunks", is_answer=True)
    return content, is_whole


async def read_bounded(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """The whole body. Raises ValueError where it is longer than `most` bytes."""
    content, is_whole = await _read(answer, most)
    if not is_whole:
        raise ValueError(f"wanted at most {most} bytes")
    return content


async def in_parts(
    answer: aiohttp.ClientResponse, held: AsyncExitStack, start: bytes, *, left_s: float
) -> AsyncGenerator[bytes, None]:
    """A long body as it comes, `start` first, until the deadline; until its end the request counts as outstanding."""
    async with held, asyncio.timeout(left_s):
        if start:
            yield start
        async for part in answer.content.iter_any():
            yield part


async def _read(answer: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    """The body until it ends, or until more than `most` bytes have come. -> it, and whether it has ended."""
    parts, size = [], 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > most:
            return b"".join(parts), False
    return b"".join(parts), True


def _check_json(content: bytes, *, is_success: bool) -> None:
    """Raise TryFailed unless it is a JSON object in UTF-8, and, of a success, one with a text under `result`."""
    try:
        told = _DECODER.decode(content.decode())
    except (ValueError, RecursionError):
        raise TryFailed("it answered what is no JSON", is_answer=True) from None
    if not isinstance(told, dict) or (is_success and not isinstance(told.get("result"), str)):
        raise TryFailed("it answered JSON that is no answer", is_answer=True)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)
