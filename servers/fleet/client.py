"""Asks one replica: one try at a request, whether it is ready, what it is. Chooses none, and tries nothing again."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

import aiohttp

from servers.errors import DeadlinePassed, Unavailable
from servers.fleet.connector import ReplicaConnector
from servers.fleet.replica import Replica
from servers.fleet.reply import Reply, TryFailed, check, in_parts, passed_on, read_bounded, read_start
from servers.http.endpoints import INFO, READY
from servers.http.headers import LOAD, TIMEOUT, read_load
from servers.telemetry import metrics

__all__ = ["ReplicaClient"]

_KEEP_IDLE_S = 5.0
_AT_ONCE_S = 0.002  # before its deadline a try counts as late
_INFO_BYTES = 1 << 20
_OUT_OF_FILES = (23, 24)  # ENFILE, EMFILE: our own want, and no replica's fault


class ReplicaClient:
    """The connections to the replicas. `timeout_s`: how long one may show no progress with a try."""

    def __init__(
        self, *, timeout_s: float, api_key: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeout_s = timeout_s
        self._key = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the connection pool; as many connections as there are requests."""
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
        """The connections to the replicas."""
        assert self._session is not None, "open() comes first"
        return self._session

    async def is_ready(self, url: str, *, timeout_s: float = 2.0) -> bool | None:
        """Whether a server at that address says that it may be routed to; None where we could not ask."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self.session.get(url + READY.path, timeout=timeout, allow_redirects=False) as answer:
                return answer.status == 200
        except aiohttp.ClientConnectorError as error:
            return None if error.errno in _OUT_OF_FILES else False
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def info(self, url: str) -> dict[str, object]:
        """A replica's `GET /info`; nothing where it does not answer."""
        timeout = aiohttp.ClientTimeout(total=10.0)
        asking = self.session.get(url + INFO.path, headers=self._key, timeout=timeout, allow_redirects=False)
        try:
            async with asking as answer:
                told = json.loads(await read_bounded(answer, _INFO_BYTES)) if answer.status == 200 else {}
        except (aiohttp.ClientError, TimeoutError, ValueError, RecursionError):
            return {}
        return told if isinstance(told, dict) else {}

    async def ask(
        self, replica: Replica, path: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float
    ) -> Reply:
        """One try. Raises TryFailed where another one may be asked; DeadlinePassed; Unavailable for our own want."""
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
                        if (told := read_load(answer.headers.get(LOAD))) is not None:
                            # it has done with this one, and we have not
                            replica.told(self._clock(), told.outstanding + 1, told.wait_s)
                        check(answer, headers)
                        kept = passed_on(answer.headers)
                        content, is_whole = await read_start(answer)
            except aiohttp.ClientConnectorError as error:
                if error.errno in _OUT_OF_FILES:
                    raise Unavailable("this server is out of file descriptors", retry_after_s=1) from error
                raise TryFailed(f"cannot be reached: {error.strerror}", is_unreachable=True) from error
            except aiohttp.ClientError as error:
                is_end = not replica.registered  # one of ours says nothing that cannot be read
                raise TryFailed(f"broke off: {error or type(error).__name__}", is_end=is_end) from error
            except TimeoutError:
                if replica.gone.is_set():
                    raise TryFailed("is gone", is_end=True) from None
                if deadline_s - self._clock() > _AT_ONCE_S:
                    raise TryFailed(f"showed no progress for {self._timeout_s:g} s", is_silent=True) from None
                raise DeadlinePassed("no replica answered before the deadline") from None
            now = self._clock()
            replica.health.answered(now)
            if answer.status == 200:
                replica.answered(now, now - sent_s, outstanding)
            if is_whole:
                return Reply(answer.status, kept, content)
            return Reply(answer.status, kept, in_parts(answer, stack.pop_all(), content, left_s=deadline_s - now))
