"""Client of the replicas: one try of a request, `GET /ready`, `GET /info` and `GET /metrics`. Retries nothing."""

import asyncio
import errno
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

import aiohttp

from servers.errors import DeadlinePassed, Unavailable
from servers.fleet.connector import ReplicaConnector
from servers.fleet.replica import Replica
from servers.fleet.reply import TryFailed, check, in_parts, passed_on, read_bounded, read_start
from servers.http.endpoints import INFO, READY
from servers.http.exchange import Reply
from servers.http.headers import LOAD, TIMEOUT, read_load
from servers.telemetry import metrics

_KEEP_IDLE_S = 5.0
_ROUNDING_S = 0.002  # a try that ends so shortly before its deadline has reached it
_MOST_BYTES = 1 << 20  # of /info and /metrics; our own replicas send some 20 KB
_OUT_OF_FILES = (errno.ENFILE, errno.EMFILE)  # our fault, not the replica's


class ReplicaClient:
    """A connection pool. `timeout_s`: how long a replica may make no progress with a try."""

    def __init__(
        self, *, timeout_s: float, api_key: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeout_s = timeout_s
        self._key = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._clock = clock
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
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The connection pool."""
        assert self._session is not None, "open() comes first"
        return self._session

    async def is_ready(self, url: str, *, timeout_s: float = 2.0) -> bool | None:
        """Whether the server at `url` is ready; None if this process is out of file descriptors."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self.session.get(url + READY.path, timeout=timeout, allow_redirects=False) as answer:
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
        limit_s = min(left_s, self._timeout_s)
        asking = {**headers, **self._key, TIMEOUT: f"{max(left_s, 0.001):.3f}"}
        async with AsyncExitStack() as stack:
            stack.enter_context(metrics.TRY_SECONDS.time())
            stack.enter_context(replica.serving())
            outstanding = replica.outstanding
            try:
                async with asyncio.timeout(limit_s) as limit:
                    with replica.trying(limit, deadline_s=deadline_s):
                        url = replica.url + path
                        posted = self.session.post(url, data=body, headers=asking, allow_redirects=False)
                        answer = await stack.enter_async_context(posted)
                        if (load := read_load(answer.headers.get(LOAD))) is not None:
                            # the replica has finished this request; here it is still outstanding
                            replica.report(self._clock(), load.outstanding + 1, load.wait_s)
                        check(answer, headers)
                        passed = passed_on(answer.headers)
                        content, is_complete = await read_start(answer)
            except aiohttp.ClientConnectorError as error:
                if error.errno in _OUT_OF_FILES:
                    raise Unavailable("this server is out of file descriptors", retry_after_s=1) from error
                raise TryFailed(f"cannot be reached: {error.strerror}", is_unreachable=True) from error
            except aiohttp.ClientError as error:
                is_end = not replica.registered  # our own replicas send nothing malformed
                raise TryFailed(f"broke off: {error or type(error).__name__}", is_end=is_end) from error
            except TimeoutError:
                if replica.gone.is_set():
                    raise TryFailed("is gone", is_end=True) from None
                if deadline_s - self._clock() > _ROUNDING_S:
                    raise TryFailed(f"showed no progress for {self._timeout_s:g} s", is_silent=True) from None
                raise DeadlinePassed("no replica answered before the deadline") from None
            now = self._clock()
            replica.health.answered(now)
            if answer.status == 200:
                replica.answered(now, now - sent_s, outstanding)
            if is_complete:
                return Reply(answer.status, content, passed)
            parts = in_parts(answer, stack.pop_all(), content, left_s=deadline_s - now)
            await anext(parts)  # begun, so that closing it ends the try
            return Reply(answer.status, b"", passed, parts)
