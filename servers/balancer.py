"""The proxy round a routing policy: sends a request to a replica, and to another one if that fails.

Decides nothing: which replica is `policies/routing.py`. Starts no replica.
"""

import re
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from random import Random

import aiohttp

from policies.routing import RoutingPolicy
from servers import metrics
from servers.errors import Unavailable
from servers.replica import Replica, Roster
from servers.traffic import Traffic

__all__ = ["Balancer", "Reply"]

_PASSED_ON = ("Content-Type", "Server-Timing", "X-Batch-Size", "X-Batch-Close", "X-Replica", "Retry-After")


@dataclass(frozen=True, slots=True)
class Reply:
    """A replica's answer, to be passed on as it is."""

    status: int
    headers: dict[str, str]
    body: bytes


class Balancer:
    """Routes over the ready replicas of a roster, counting what is outstanding at each. Use as a context manager."""

    def __init__(
        self,
        roster: Roster,
        route: RoutingPolicy,
        *,
        request_timeout_s: float,
        api_key: str | None = None,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.traffic = Traffic()
        self._roster = roster
        self._route = route
        self._key = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._rng = Random(seed)
        self._clock = clock
        self._turn = 0
        self._timeout = aiohttp.ClientTimeout(total=request_timeout_s, sock_connect=2.0)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the connection pool; as many connections as there are requests."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def choose(self, tried: Set[Replica] = frozenset()) -> Replica:
        """The replica for the next request. Raises Unavailable where none is left."""
        candidates = [replica for replica in self._roster.in_state("ready") if replica not in tried]
        if not candidates:
            raise Unavailable("no replica is ready", retry_after_s=1)
        index = self._route([replica.load for replica in candidates], self._turn, self._rng)
        self._turn += 1
        return candidates[index]

    async def forward(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Ask replicas until one answers, each at most once. A question has no side effect, so it may be asked again.

        Raises Unavailable when none is left to ask. A registered replica that could not be reached is dead until it
        answers again; our own are watched by the fleet, which sees their process end.
        """
        self.traffic.arrived(self._clock())
        tried: set[Replica] = set()
        while True:
            replica = self.choose(tried)
            if tried:
                metrics.RETRIES.inc()
            tried.add(replica)
            try:
                reply = await self._post(replica, body, headers)
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                if replica.registered:
                    self._roster.move(replica, "dead")
            else:
                if reply.status != Unavailable.status:
                    return reply

    async def is_ready(self, url: str) -> bool:
        """Whether a server at that address says that it may be routed to."""
        assert self._session is not None, "open() comes first"
        try:
            limit = aiohttp.ClientTimeout(total=2.0)
            async with self._session.get(f"{url}/ready", timeout=limit, allow_redirects=False) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def info(self, url: str) -> dict[str, object]:
        """A replica's `GET /info`."""
        assert self._session is not None, "open() comes first"
        async with self._session.get(f"{url}/info", headers=self._key, allow_redirects=False) as answer:
            return dict(await answer.json())

    async def _post(self, replica: Replica, body: bytes, headers: Mapping[str, str]) -> Reply:
        assert self._session is not None, "open() comes first"
        with replica.serving():
            outstanding, sent_s = replica.outstanding, self._clock()
            headers = {**headers, **self._key}
            async with self._session.post(
                f"{replica.url}/rag", data=body, headers=headers, allow_redirects=False
            ) as answer:
                content = await answer.read()
            now = self._clock()
        kept = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
        if answer.status == 200:
            replica.answered(now - sent_s, outstanding)
            self.traffic.waited(now, _queue_s(kept.get("Server-Timing", "")))
        return Reply(answer.status, kept, content)


def _queue_s(server_timing: str) -> float:
    """The queue wait in a replica's own Server-Timing header; 0.0 where it has none."""
    found = re.search(r"\bqueue;(?:[^,]*;)?dur=(\d+(?:\.\d+)?)", server_timing)
    return float(found[1]) / 1000 if found else 0.0
