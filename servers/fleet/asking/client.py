"""Client of the replicas: one try of a request, `GET /ready`, `GET /info` and `GET /metrics`. Retries nothing.

Replicas of our own are asked by framed links, registered ones by HTTP; all else is HTTP.
"""

import asyncio
import errno
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp

from servers.errors import DeadlinePassed, Unavailable
from servers.fleet.asking.connector import ReplicaConnector
from servers.fleet.asking.link import LinkLost, Links
from servers.fleet.asking.reply import (
    Head,
    TryFailed,
    check,
    in_parts,
    passed_on,
    read_bounded,
    read_start,
    split,
    until,
)
from servers.fleet.replica import Replica
from servers.http.endpoints import INFO, READY
from servers.http.exchange import Reply
from servers.http.headers import LOAD, TIMEOUT, read_load
from servers.telemetry import metrics

_KEEP_IDLE_S = 5.0
_ROUNDING_S = 0.002  # a try that ends so shortly before its deadline has reached it
_MOST_BYTES = 1 << 20  # of /info and /metrics; our own replicas send some 20 KB
_OUT_OF_FILES = (errno.ENFILE, errno.EMFILE)  # our fault, not the replica's


@dataclass(frozen=True, slots=True)
class Keys:
    """What opens the replicas: `api` their routes, `link` the links to our own, which without it are asked by HTTP."""

    api: str | None = field(default=None, repr=False)
    link: str | None = field(default=None, repr=False)


NO_KEYS = Keys()


class ReplicaClient:
    """A connection pool. `timeout_s`: how long a replica may make no progress with a try."""

    def __init__(
        self,
        *,
        timeout_s: float,
        keys: Keys = NO_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s = timeout_s
        self._key = {} if keys.api is None else {"Authorization": f"Bearer {keys.api}"}
        self._clock = clock
        self._links = None if keys.link is None else Links(keys.link)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the connection pool, which has no limit."""
        connector = ReplicaConnector(limit=0, keepalive_timeout=_KEEP_IDLE_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=2.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._links is not None:
            self._links.close()
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The connection pool."""
        assert self._session is not None, "open() comes first"
        return self._session

    async def is_ready(self, url: str, *, timeout_s: float = 2.0, of: Replica | None = None) -> bool | None:
        """Whether the server at `url` is ready; None if this process is out of file descriptors.

        `of`: the replica there, whose load is noted.
        """
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self.session.get(url + READY.path, timeout=timeout, allow_redirects=False) as answer:
                load = read_load(answer.headers.get(LOAD))
                if of is not None and load is not None:
                    of.said(self._clock(), load.outstanding, load.wait_s)
                return answer.status == 200
        except aiohttp.ClientConnectorError as error:
            return None if error.errno in _OUT_OF_FILES else False
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def info(self, url: str) -> dict[str, object]:
        """A replica's `GET /info`; empty if it does not answer."""
        try:
            info = json.loads(await self.text(url + INFO.path, timeout_s=10.0) or "{}")
        except (ValueError, RecursionError):
            return {}
        return info if isinstance(info, dict) else {}

    async def text(self, url: str, *, timeout_s: float) -> str | None:
        """The body of a 200; None if there is no such answer in time, or if it is too long or not UTF-8."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self.session.get(url, headers=self._key, timeout=timeout, allow_redirects=False) as answer:
                return (await read_bounded(answer, _MOST_BYTES)).decode() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    async def ask(
        self, replica: Replica, path: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float
    ) -> Reply:
        """One try. Raises TryFailed, DeadlinePassed, or Unavailable if this process is out of file descriptors."""
        sent_s = self._clock()
        left_s = deadline_s - sent_s
        if left_s <= 0:
            raise DeadlinePassed("the deadline passed before a replica answered")
        asking = {**headers, TIMEOUT: f"{max(left_s, 0.001):.3f}"}
        outstanding = replica.begin()
        reply = None
        try:
            async with asyncio.timeout(min(left_s, self._timeout_s)) as limit:
                with replica.trying(limit, deadline_s=deadline_s):
                    if self._links is None or replica.registered:
                        reply = await self._by_http(replica, path, body, asking)
                    else:
                        reply = await self._by_link(self._links, replica, path, body, asking)
        except OSError as error:
            if error.errno in _OUT_OF_FILES:
                raise Unavailable("this server is out of file descriptors", retry_after_s=1) from error
            if isinstance(error, TimeoutError):
                raise self._late(replica, deadline_s) from None
            raise TryFailed(f"cannot be reached: {error.strerror}", is_unreachable=True) from error
        finally:
            now = self._clock()
            metrics.TRY_SECONDS.observe(now - sent_s)
            if reply is None or reply.parts is None:
                replica.end()
        replica.health.answered(now)
        if reply.status == 200:
            replica.answered(now, now - sent_s, outstanding)
        if reply.parts is None:
            return reply
        parts = until(deadline_s - now, reply.parts, replica.end)
        await anext(parts)  # begun, so that closing it ends the try
        return reply._replace(parts=parts)

    async def _by_http(self, replica: Replica, path: str, body: bytes, asking: Mapping[str, str]) -> Reply:
        """The reply of a replica that is asked by a request of its own."""
        url, headers = replica.url + path, {**asking, **self._key}
        async with AsyncExitStack() as stack:
            try:
                posted = self.session.post(url, data=body, headers=headers, allow_redirects=False)
                answer = await stack.enter_async_context(posted)
                self._report(replica, answer.headers.get(LOAD))
                check(answer, asking)
                passed = passed_on(answer.headers)
                content, is_complete = await read_start(answer)
            except aiohttp.ClientConnectorError:
                raise
            except aiohttp.ClientError as error:
                is_end = not replica.registered  # our own replicas send nothing malformed
                raise TryFailed(f"broke off: {error or type(error).__name__}", is_end=is_end) from error
            if is_complete:
                return Reply(answer.status, content, passed)
            return Reply(answer.status, b"", passed, in_parts(answer, stack.pop_all(), content))
        raise AssertionError("the stack swallows no exception")

    async def _by_link(
        self, links: Links, replica: Replica, path: str, body: bytes, asking: Mapping[str, str]
    ) -> Reply:
        """The reply of a replica of our own, whose answers need no check."""
        try:
            answer = await links.ask(replica, path, body, asking)
        except LinkLost as error:
            raise TryFailed(f"broke off: {error}", is_end=True) from error
        headers, load = split(answer.fields)
        self._report(replica, load)
        if answer.status != HTTPStatus.OK:
            check(Head.of(answer.status, answer.fields), asking)
        parts = None if answer.parts is None else answer.parts.each()
        return Reply(answer.status, answer.body, headers, parts)

    def _report(self, replica: Replica, header: str | None) -> None:
        """Note the load in an X-Load header."""
        if header is not None and (load := read_load(header)) is not None:
            # the replica has finished this request; here it is still outstanding
            replica.report(self._clock(), load.outstanding + 1, load.wait_s)

    def _late(self, replica: Replica, deadline_s: float) -> Exception:
        """Why a try ended by its time limit."""
        if replica.gone.is_set():
            return TryFailed("is gone", is_end=True)
        if deadline_s - self._clock() > _ROUNDING_S:
            return TryFailed(f"showed no progress for {self._timeout_s:g} s", is_silent=True)
        return DeadlinePassed("no replica answered before the deadline")
