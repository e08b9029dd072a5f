"""The fleet's end of a framed link to a replica of its own (servers/http/connection/frames.py). Retries nothing."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import NamedTuple, cast

from servers.addresses import parsed
from servers.fleet.replica import Replica
from servers.http.connection.frames import (
    MOST_FIELDS_BYTES,
    PATH,
    PROTOCOL,
    Fields,
    FrameError,
    FrameReader,
    Kind,
    frame,
    packed,
    size,
    unpacked,
)
from servers.http.connection.write_coalescing import CoalescingTransport
from servers.http.exchange import Headers
from servers.tasks import shared

_CONNECT_S = 2.0
_MOST_BODY_BYTES = 64 << 20
_HEAD_END = b"\r\n\r\n"


class LinkLost(ConnectionError):
    """The connection ended, or what came by it is no answer."""


class Answer(NamedTuple):
    """A reply: its fields without the status, and its body, or the parts of it as they come."""

    status: int
    fields: Headers
    body: bytes
    parts: "Parts | None" = None


class Parts:
    """The parts of one answer. As they are taken the replica may send more."""

    def __init__(self, link: "Link", number: int) -> None:
        self._link = link
        self._number = number
        self._waiting: deque[bytes | LinkLost | None] = deque()
        self._came = asyncio.Event()

    def add(self, part: bytes | LinkLost | None) -> None:
        """Add a part, their end (None) or why they broke off."""
        self._waiting.append(part)
        self._came.set()

    async def each(self) -> AsyncGenerator[bytes, None]:
        """Nothing, and then the parts. Raises LinkLost. Closed before the end, it tells the replica to stop."""
        try:
            yield b""
            while True:
                while not self._waiting:
                    self._came.clear()
                    await self._came.wait()
                part = self._waiting.popleft()
                if part is None:
                    return
                if isinstance(part, LinkLost):
                    raise part
                self._link.send(frame(Kind.MORE, self._number, size(len(part))))
                yield part
        finally:
            self._link.give_up(self._number)


class Link(asyncio.Protocol):
    """One connection with many requests on it. Made by `opened`."""

    def __init__(self, key: str) -> None:
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._key = key
        self._switched: asyncio.Future[None] = loop.create_future()
        self._answers: dict[int, asyncio.Future[Answer] | Parts] = {}
        self._last = 0
        self._head: bytes | None = b""  # of the answer to the Upgrade, until it is complete
        self._transport: CoalescingTransport | None = None
        self._feed = FrameReader(self._read, most=MOST_FIELDS_BYTES + _MOST_BODY_BYTES).feed

    async def ask(self, fields: Fields, body: bytes) -> Answer:
        """The answer to one request, whose first field is its path. Cancelled, it tells the replica to stop.

        Raises LinkLost.
        """
        if self._transport is None or self.lost.done():
            raise LinkLost("the link has ended")
        number = self._last = self._next()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        self.send(frame(Kind.ASK, number, packed(fields, body)))
        try:
            return await future
        except asyncio.CancelledError:
            self.give_up(number)
            raise

    def send(self, data: bytes) -> None:
        """Send frames, unless the link has ended."""
        if self._transport is not None and not self.lost.done():
            self._transport.write(data)

    def give_up(self, number: int) -> None:
        """Forget a request; the replica stops its work unless it has answered."""
        if self._answers.pop(number, None) is not None:
            self.send(frame(Kind.CANCEL, number))

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    async def switched(self) -> None:
        """Wait until the replica speaks frames. Raises LinkLost if it does not."""
        await self._switched

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the link."""
        self._transport = CoalescingTransport(cast(asyncio.Transport, transport), lambda: None)
        lines = (b"Connection: Upgrade", b"Upgrade: " + PROTOCOL, b"Authorization: Bearer " + self._key.encode())
        self._transport.write(b"\r\n".join([b"GET %b HTTP/1.1" % PATH, b"Host: localhost", *lines, b"", b""]))

    def data_received(self, data: bytes) -> None:
        """Read the answer to the Upgrade, then frames."""
        if self._head is not None:
            head, end, data = (self._head + data).partition(_HEAD_END)
            self._head = None if end else head
            if len(head) > MOST_FIELDS_BYTES or (end and not head.startswith(b"HTTP/1.1 101 ")):
                self._end("it opens no link")
                return
            if not end:
                return
            self._switched.set_result(None)
        try:
            self._feed(data)
        except FrameError as error:
            self._end(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all requests."""
        self._end("it closed its link")

    def _end(self, why: str) -> None:
        if self.lost.done():
            return
        self.lost.set_result(None)
        error = LinkLost(why)
        if not self._switched.done():
            self._switched.set_exception(error)
            self._switched.exception()  # nobody may be waiting any more
        for waiting in self._answers.values():
            if isinstance(waiting, Parts):
                waiting.add(error)
            elif not waiting.done():
                waiting.set_exception(error)
        self._answers.clear()
        if self._transport is not None:
            self._transport.abort()

    def _read(self, kind: int, number: int, payload: bytes) -> None:
        waiting = self._answers.get(number)
        if waiting is None:  # given up
            return
        if isinstance(waiting, Parts):
            self._read_part(waiting, kind, number, payload)
        elif kind in (Kind.REPLY, Kind.BEGIN):
            fields, body = unpacked(payload)
            if not fields or not fields[0][1].isdigit():
                raise FrameError("an answer without a status")
            parts = None
            if kind == Kind.BEGIN:
                parts = self._answers[number] = Parts(self, number)
            else:
                del self._answers[number]
            if not waiting.done():
                waiting.set_result(Answer(int(fields[0][1]), fields[1:], body, parts))
        elif kind == Kind.BROKEN:
            del self._answers[number]
            if not waiting.done():
                waiting.set_exception(LinkLost("its answer broke off"))
        else:
            raise FrameError(f"a frame of kind {kind}")

    def _read_part(self, parts: Parts, kind: int, number: int, payload: bytes) -> None:
        if kind == Kind.PART:
            parts.add(payload)
            return
        del self._answers[number]
        parts.add(None if kind == Kind.END else LinkLost("its answer broke off"))

    def _next(self) -> int:
        number = self._last
        while (number := (number + 1) % 2**32) in self._answers:
            pass
        return number


class Links:
    """One link to each replica that was asked. One that has ended is opened anew when its replica is asked again."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._open: dict[Replica, Link] = {}
        self._opening: dict[Replica, asyncio.Task[Link]] = {}

    async def ask(self, replica: Replica, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer of a replica. Raises OSError if nothing listens there, LinkLost if it breaks off."""
        link = self._open.get(replica) or await self._opened(replica)
        fields = [(b":path", path.encode())]
        fields += [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        return await link.ask(fields, body)

    def close(self) -> None:
        """End all links."""
        for opening in self._opening.values():
            opening.cancel()
        for link in tuple(self._open.values()):
            link.close()

    async def _opened(self, replica: Replica) -> Link:
        """A new link, which all who wait for it share."""
        opening = self._opening.get(replica)
        if opening is None:
            opening = self._opening[replica] = shared(_linked(replica.url, self._key))
            opening.add_done_callback(partial(self._keep, replica))
        return await asyncio.shield(opening)

    def _keep(self, replica: Replica, opening: "asyncio.Task[Link]") -> None:
        del self._opening[replica]
        if not opening.cancelled() and opening.exception() is None:
            link = self._open[replica] = opening.result()
            link.lost.add_done_callback(lambda _: self._open.pop(replica, None))


async def _linked(url: str, key: str) -> Link:
    """A link to the replica at `url`. Raises OSError if nothing listens there, LinkLost if it opens no link."""
    address = parsed(url)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, link = await loop.create_connection(lambda: Link(key), address.host, address.port)
            try:
                await link.switched()
            except BaseException:
                link.close()
                raise
    except TimeoutError:
        raise LinkLost(f"it opens no link within {_CONNECT_S:g} s") from None
    return link
