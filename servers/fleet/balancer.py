"""The proxy round a routing policy: sends a request to a replica, and to another one if that fails.

Decides nothing: which replica is `policies/routing.py`, which may be asked at all `policies/health.py`. Starts none.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

from policies.admission import is_late
from policies.routing import RoutingPolicy
from servers.errors import DeadlinePassed, QuestionFailed, QueueFull, Unavailable
from servers.fleet.client import ReplicaClient
from servers.fleet.replica import Replica, Roster
from servers.fleet.reply import Reply, TryFailed
from servers.fleet.traffic import Traffic, queue_s
from servers.telemetry import metrics, tracing

__all__ = ["Balancer", "Tries"]

log = logging.getLogger(__name__)
_WELL_IN_TIME = 0.5  # of what is left of a request's time
_PATIENCE_S = 1.0  # for news of the replicas, when those that were asked have all broken off
_SUSPECT, _BLAMED = 2, 3  # replicas that ended with one question in them: by chance hardly, and not by chance


@dataclass(frozen=True, slots=True)
class Tries:
    """How long a replica may show no progress with a try, and how many requests may wait for a first replica.

    `silent_s`: a try that ends at its deadline sooner says nothing of the replica; two heartbeats fall into that time.
    """

    timeout_s: float = 30.0
    max_waiting: int = 1024
    silent_s: float = 2.0


class Balancer:
    """Routes over the ready replicas of a roster, counting what is outstanding at each. `client.open` comes first."""

    def __init__(
        self,
        roster: Roster,
        route: RoutingPolicy,
        *,
        tries: Tries | None = None,
        api_key: str | None = None,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.traffic = Traffic()
        self.waiting = 0
        self.wanted = asyncio.Event()  # somebody waits for a first replica
        self.tries = tries or Tries()
        self.client = ReplicaClient(timeout_s=self.tries.timeout_s, api_key=api_key, clock=clock)
        self._roster = roster
        self._route = route
        self._rng = Random(seed)
        self._clock = clock
        self._turn = 0

    def choose(self, tried: Set[Replica] = frozenset()) -> Replica:
        """The replica for the next request. Raises Unavailable where none is left."""
        now = self._clock()
        ready = [replica for replica in self._roster.in_state("ready") if replica not in tried]
        # Where all are out, one that is out is better than none: it may well be we who are slow.
        candidates = [one for one in ready if one.health.may_be_asked(now, one.outstanding)] or ready
        if not candidates:
            raise Unavailable("no replica is ready", retry_after_s=1)
        index = self._route([replica.load(now) for replica in candidates], self._turn, self._rng)
        self._turn += 1
        return candidates[index]

    async def forward(self, path: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float) -> Reply:
        """Ask replicas until one answers, each at most once. A question has no side effect, so it may be asked again.

        Raises Unavailable when none is left to ask, QueueFull when those that are left are full, too many wait already
        for the first one or the deadline cannot be kept, DeadlinePassed after `deadline_s` on our clock, QuestionFailed
        when so many replicas ended with it that it is to blame.
        """
        self.traffic.arrived(self._clock())
        self._refuse_late(deadline_s)
        tried: set[Replica] = set()
        shed_s: list[int] = []
        has_answered = False
        ends = 0
        while True:
            try:
                replica = self.choose(tried) if has_answered else await self._next(tried, deadline_s)
            except Unavailable:
                if not shed_s:
                    raise
                raise _all_full(shed_s) from None
            if tried:
                metrics.RETRIES.inc()
            tried.add(replica)
            try:
                with tracing.try_span(replica=replica.name, attempt=len(tried)):
                    async with self._apart(replica, is_suspect=ends >= _SUSPECT, deadline_s=deadline_s):
                        return await self._try(
                            replica, path, body, {**headers, **tracing.headers()}, deadline_s=deadline_s
                        )
            except TryFailed as failure:
                has_answered |= failure.is_answer
                ends += failure.is_end
                if ends == _BLAMED:
                    log.warning("%d replicas ended with this question in them: no other one is asked", ends)
                    raise QuestionFailed("internal error") from None
                if failure.shed_s is not None:
                    shed_s.append(failure.shed_s)
                    if not self._has_room(tried, deadline_s):
                        raise _all_full(shed_s) from None
                log.debug("replica %s: %s", replica.name, failure)
                if not failure.is_polite:
                    self.failed(
                        replica,
                        is_unreachable=failure.is_unreachable,
                        is_silent=failure.is_silent,
                        reason=str(failure),
                    )

    def failed(self, replica: Replica, *, is_unreachable: bool, reason: str, is_silent: bool = False) -> None:
        """Note that a replica did not answer as it should. A registered one that cannot be reached is dead.

        One that answers, but wrongly, stays in the rotation where it is the last or half of them are out: it may be the
        questions. One that is unreachable or `is_silent` does not.
        """
        may_go = is_unreachable or is_silent or self._may_spare(replica)
        if replica.health.failed(self._clock(), is_unreachable=is_unreachable, may_go=may_go):
            metrics.EJECTIONS.labels("unreachable" if is_unreachable else "failures").inc()
            log.warning("replica %s is left alone for a while: %s", replica.name, reason)
        if is_unreachable and replica.registered and replica.state == "ready":
            self._roster.move(replica, "end")

    def unregister(self, replica: Replica) -> None:
        """Give it no more requests. What it has may take until its deadline: nobody asks for signs of progress."""
        self._roster.move(replica, "drain")
        self._roster.remove(replica)
        replica.progressed(self._clock(), try_timeout_s=math.inf)

    def _may_spare(self, replica: Replica) -> bool:
        """Whether it is out already, or else at least half of the ready replicas stay in the rotation without it."""
        if replica.health.out_until_s is not None:
            return True
        ready = self._roster.in_state("ready")
        out = sum(other.health.out_until_s is not None for other in ready if other is not replica)
        return (out + 1) * 2 <= len(ready)

    def _refuse_late(self, deadline_s: float) -> None:
        """Where every replica has so much to do that the answer would be late, say so now. Raises QueueFull."""
        now = self._clock()
        predicted = [replica.predicted_s(now) for replica in self._roster.in_state("ready")]
        waits = [wait_s for wait_s in predicted if wait_s is not None]
        if waits and len(waits) == len(predicted) and is_late(min(waits), deadline_s - now):
            metrics.SHED.labels("deadline").inc()
            raise QueueFull("too busy: deadline", retry_after_s=max(1, round(min(waits))))

    def _has_room(self, tried: Set[Replica], deadline_s: float) -> bool:
        """Whether one that was not tried would be well in time, by what it said a moment ago, or has nothing to do.

        Under overload none would: to ask them all would cost a multiple of what each refusal is worth, and the more the
        later we are to hear what they say.
        """
        now = self._clock()
        others = [replica for replica in self._roster.in_state("ready") if replica not in tried]
        if any(replica.outstanding == 0 for replica in others):
            return True
        waits = [replica.predicted_s(now) for replica in others]
        return any(wait_s is not None and wait_s < _WELL_IN_TIME * (deadline_s - now) for wait_s in waits)

    async def _next(self, tried: Set[Replica], deadline_s: float) -> Replica:
        """A replica that was not tried, once there is one: a fleet may start from nothing, or replace its dead."""

        def untried() -> bool:
            return any(replica not in tried for replica in self._roster.in_state("ready"))

        if untried():
            return self.choose(tried)
        if self.waiting >= self.tries.max_waiting:
            metrics.SHED.labels("queue full").inc()
            raise QueueFull("too busy: no replica is ready, and too many wait for one", retry_after_s=1)
        self.waiting += 1
        if self.waiting == 1:
            self.wanted.set()
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self._clock())):
                while not untried():
                    await self._news(patient=not self._roster.in_state("ready"))
            return self.choose(tried)
        except TimeoutError:
            raise DeadlinePassed("no replica was ready in time") from None
        finally:
            self.waiting -= 1

    @asynccontextmanager
    async def _apart(self, replica: Replica, *, is_suspect: bool, deadline_s: float) -> AsyncIterator[None]:
        """A suspect is at a replica together with no other one, so that only the question to blame is blamed.

        Raises DeadlinePassed where its turn does not come in time.
        """
        if not is_suspect:
            yield
            return
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self._clock())):
                await replica.suspects.acquire()
        except TimeoutError:
            raise DeadlinePassed("no replica answered before the deadline") from None
        try:
            yield
        finally:
            replica.suspects.release()

    async def _news(self, *, patient: bool) -> None:
        """Until a replica changes its state. Raises Unavailable where that is not soon and we are not `patient`."""
        self._roster.changed.clear()
        waiting = asyncio.timeout(None if patient else _PATIENCE_S)
        try:
            async with waiting:
                await self._roster.changed.wait()
        except TimeoutError:
            if not waiting.expired():
                raise
            raise Unavailable("no replica is left to ask", retry_after_s=1) from None

    async def _try(
        self, replica: Replica, path: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float
    ) -> Reply:
        """One try at one replica. Raises TryFailed where another one may be asked."""
        sent_s = self._clock()
        try:
            reply = await self.client.ask(replica, path, body, headers, deadline_s=deadline_s)
        except DeadlinePassed:
            if replica.alive_s <= sent_s and self._clock() - sent_s >= self.tries.silent_s:
                self.failed(replica, is_unreachable=False, is_silent=True, reason="it has answered nobody since")
            raise
        if reply.status == 200:
            self.traffic.waited(self._clock(), queue_s(reply.headers.get("Server-Timing", "")))
        return reply


def _all_full(shed_s: Sequence[int]) -> QueueFull:
    """The refusals of all replicas as one, with the shortest of their waits."""
    return QueueFull("too busy: every replica is full", retry_after_s=min(shed_s))
