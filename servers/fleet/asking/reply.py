"""A replica's answer: whether it may be passed on, and its body, complete or in parts."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp
from multidict import CIMultiDict

from servers.errors import SCOPE, EngineEnded, QuestionFailed, QueueFull, Unavailable
from servers.http.exchange import Headers
from servers.http.headers import LOAD

_BUFFERED_BYTES = 1 << 20  # an answer up to this length is read completely before it is passed on
_ANSWERS = (200, 400, 413, 415, 422, 429, 431, 504)  # passed on; any other status is a fault of the replica
_PASSED_ON = ("Content-Type", "Server-Timing", "X-Batch-Size", "X-Batch-Close", "X-Replica", "Retry-After", SCOPE)
_PASSED_ON_NAMES = frozenset(name.lower().encode() for name in _PASSED_ON)
_LOAD = LOAD.lower().encode()
_FIELD = re.compile(r"[\t -~]*")
_SECONDS = re.compile(r"[0-9]{1,6}")
_JSON, _EVENTS = "application/json", "text/event-stream"


@dataclass(eq=False, kw_only=True)
class TryFailed(Exception):
    """A try failed that another replica may answer.

    `is_unreachable`: nothing listens there. `is_silent`: it made no progress. `is_answer`: it answered. `is_polite`:
    it is busy or about to end, which is no fault. `is_end`: it ended with the question in it, which may be the cause.
    `shed_s`: its queue is full, and this is its Retry-After.
    """

    why: str = field(kw_only=False)
    is_unreachable: bool = False
    is_silent: bool = False
    is_answer: bool = False
    is_polite: bool = False
    is_end: bool = False
    shed_s: int | None = None

    def __str__(self) -> str:
        return self.why


class Head(NamedTuple):
    """Status and headers of an answer."""

    status: int
    headers: Mapping[str, str]

    @classmethod
    def of(cls, status: int, fields: Headers) -> "Head":
        """The head of an answer that came by a link."""
        return cls(status, CIMultiDict((name.decode(), value.decode("latin-1")) for name, value in fields))


def split(fields: Headers) -> tuple[Headers, str | None]:
    """The headers to pass on of an answer that came by a link, and its X-Load."""
    load = next((value.decode("latin-1") for name, value in fields if name == _LOAD), None)
    return tuple([field for field in fields if field[0] in _PASSED_ON_NAMES]), load


def check(answer: aiohttp.ClientResponse | Head, headers: Mapping[str, str]) -> None:
    """Raise TryFailed on an answer that must not be passed on."""
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


def passed_on(headers: Mapping[str, str]) -> Headers:
    """The headers to pass on. Raises TryFailed if one is not printable ASCII."""
    selected = {name: headers[name] for name in _PASSED_ON if name in headers}
    for name, value in selected.items():
        if not _FIELD.fullmatch(value):
            raise TryFailed(f"its header {name} is not printable ASCII", is_answer=True)
    return tuple((name.lower().encode(), value.encode()) for name, value in selected.items())


async def read_start(answer: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """The beginning of the body, and whether it is complete. Of events and of long answers it is empty.

    Raises TryFailed on a complete body that is not an answer's JSON, and on a body whose end cannot be seen.
    """
    length, is_chunked = answer.content_length, "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
    has_end = length is not None or is_chunked
    is_events = answer.status == 200 and answer.content_type == _EVENTS
    if answer.status == 200 and not is_events and answer.content_type != _JSON:
        raise TryFailed(f"it answered {answer.content_type}", is_answer=True)
    if has_end and (is_events or (length or 0) > _BUFFERED_BYTES):
        return b"", False
    content, is_complete = await _read(answer, _BUFFERED_BYTES)
    if is_complete and answer.content_type == _JSON:  # complete JSON needs no length
        _check_json(content, is_success=answer.status == 200)
    elif not has_end:
        raise TryFailed("it answered with neither a length nor chunks", is_answer=True)
    return content, is_complete


async def read_bounded(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """The complete body. Raises ValueError if it is longer than `most` bytes."""
    content, is_complete = await _read(answer, most)
    if not is_complete:
        raise ValueError(f"wanted at most {most} bytes")
    return content


async def in_parts(answer: aiohttp.ClientResponse, held: AsyncExitStack, start: bytes) -> AsyncGenerator[bytes, None]:
    """Nothing, and then a long body as it comes, `start` first. It has the connection until it is closed."""
    async with held:
        yield b""
        if start:
            yield start
        async for part in answer.content.iter_any():
            yield part


async def until(
    left_s: float, parts: AsyncGenerator[bytes, None], ended: Callable[[], None]
) -> AsyncGenerator[bytes, None]:
    """Parts of which the first is empty, for so long. Calls `ended` after them, or when it is closed."""
    try:
        async with aclosing(parts):
            yield await anext(parts)
            async with asyncio.timeout(left_s):
                async for part in parts:
                    yield part
    finally:
        ended()


async def _read(answer: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    """The body until its end or until more than `most` bytes have come, and whether it has ended."""
    parts, size = [], 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > most:
            return b"".join(parts), False
    return b"".join(parts), True


def _check_json(content: bytes, *, is_success: bool) -> None:
    """Raise TryFailed unless it is a JSON object in UTF-8; that of a success has a text under `result`."""
    try:
        body = _DECODER.decode(content.decode())
    except (ValueError, RecursionError):
        raise TryFailed("it answered what is no JSON", is_answer=True) from None
    if not isinstance(body, dict) or (is_success and not isinstance(body.get("result"), str)):
        raise TryFailed("it answered JSON that is no answer", is_answer=True)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)
