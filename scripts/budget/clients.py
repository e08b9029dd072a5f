"""Users in a closed loop over loopback: a kept connection each, the next question after each answer. No figures."""

import asyncio
import json
from collections.abc import Callable

try:
    from uvloop import new_event_loop as _new_loop
except ImportError:  # there is none for Windows
    _new_loop = asyncio.new_event_loop

_BODY = json.dumps({"query": "Where was Mira Toven born?"}).encode()
REQUEST = b"POST /rag HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)
_HEAD_END, _LENGTH, _LAST_CHUNK = b"\r\n\r\n", b"content-length:", b"0\r\n\r\n"
_GRACE_S = 30.0


class _User(asyncio.Protocol):
    """One connection. An answer other than 200, or the end of the connection, ends the load."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, body = self._read.partition(_HEAD_END)
        if not end or not _is_whole(head, body):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._load.fail(f"the server answered {head.splitlines()[0].decode('latin-1')!r}")
            return
        self._load.answered += 1
        self._read = b""
        self._transport.write(REQUEST)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.fail(f"the server closed a connection ({exc})")


class _Load:
    def __init__(self) -> None:
        self.answered = 0
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, why: str) -> None:
        if not self.failed.done():
            self.failed.set_exception(RuntimeError(why))


def drive(
    port: int, *, users: int, warm_up_s: float, seconds: float, begin: Callable[[], None], end: Callable[[], None]
) -> tuple[int, float]:
    """Load the server; call `begin` after the warm-up and `end` after `seconds` more, under load both.

    -> requests answered between them, and seconds. Raises RuntimeError on an answer other than 200.
    """
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(_drive(port, users, warm_up_s, seconds, begin, end))


async def _drive(
    port: int, users: int, warm_up_s: float, seconds: float, begin: Callable[[], None], end: Callable[[], None]
) -> tuple[int, float]:
    loop, load, transports = asyncio.get_running_loop(), _Load(), []
    try:
        async with asyncio.timeout(warm_up_s + seconds + _GRACE_S):
            for _ in range(users):
                transport, _ = await loop.create_connection(lambda: _User(load), "127.0.0.1", port)
                transports.append(transport)
            await _under_load(load, warm_up_s)
            begin()
            before, begun_s = load.answered, loop.time()
            await _under_load(load, seconds)
            end()
            return load.answered - before, loop.time() - begun_s
    finally:
        load.failed.cancel()
        for transport in transports:
            transport.abort()


async def _under_load(load: _Load, seconds: float) -> None:
    await asyncio.wait([load.failed], timeout=seconds)
    if load.failed.done():
        load.failed.result()


def _is_whole(head: bytes, body: bytes) -> bool:
    """Whether the body is all there; in chunks, it ends with an empty one."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return len(body) >= int(line.removeprefix(_LENGTH))
    return body.endswith(_LAST_CHUNK)
