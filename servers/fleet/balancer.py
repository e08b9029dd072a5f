"""Load balancer: sends a request to a replica, and to another one if that fails.

`policies/routing.py` decides which replica, `policies/health.py` which ones are in the rotation.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from random import Random

from policies.admission import is_late
from policies.routing import RoutingPolicy
from servers.errors import DeadlinePassed, QuestionFailed, QueueFull, Unavailable
from servers.fleet.asking.client import NO_KEYS, Keys, ReplicaClient
from servers.fleet.asking.reply import TryFailed
from servers.fleet.replica import Replica, Roster
from servers.fleet.traffic import Traffic, queue_s
from servers.http.exchange import Reply
from servers.tasks import within
from servers.telemetry import metrics, tracing

log = logging.getLogger(__name__)
_WELL_IN_TIME = 0.5  # share of a request's remaining time
_CHANGE_S = 1.0  # how long to wait for another replica after all tries have failed
_TOGETHER = nullcontext()  # with other questions
_SUSPECT, _BLAMED = 2, 3  # replicas that ended with one question in them


@dataclass(frozen=True, slots=True)
class Tries:
    """Limits of tries. `timeout_s`: a replica may make no progress for so long.

    `max_waiting`: requests that may wait for a first replica. `silent_s`: a shorter try that reaches its deadline is no
    evidence against the replica.
    """

    timeout_s: float = 30.0
    max_waiting: int = 1024
    silent_s: float = 2.0


class Balancer:
    """Routes requests over the ready replicas of a roster. `client.open` comes first."""

    def __init__(
        self,
        roster: Roster,
        route: RoutingPolicy,
        *,
        tries: Tries | None = None,
        keys: Keys = NO_KEYS,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.traffic = Traffic()
        self.waiting = 0
        self.wanted = asyncio.Event()  # a request waits for a first replica
        self.tries = tries or Tries()
        self.client = ReplicaClient(timeout_s=self.tries.timeout_s, keys=keys, clock=clock)
        self._roster = roster
        self._route = route
        self._rng = Random(seed)
        self._clock = clock
        self._turn = 0

    def choose(self, tried: Set[Replica] = frozenset()) -> Replica:
        """The replica for the next request. Raises Unavailable if none is left."""
        now = self._clock()
        ready = self._untried(tried)
        # If all are ejected, any of them is better than none: this process may be the slow one.
        candidates = [replica for replica in ready if replica.health.may_be_asked(now, replica.outstanding)] or ready
        if not candidates:
            raise Unavailable("no replica is ready", retry_after_s=1)
        self._turn += 1
        if len(candidates) == 1:
            return candidates[0]
        index = self._route([replica.load(now) for replica in candidates], self._turn - 1, self._rng)
        return candidates[index]

    async def forward(self, path: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float) -> Reply:
        """Try replicas until one answers, each at most once. Questions have no side effects, so retries are safe.

        Raises Unavailable if none is left; QueueFull if all are full, too many requests wait for a first replica or the
        deadline cannot be met; DeadlinePassed at `deadline_s` on our clock; QuestionFailed after three replicas ended
        with the question in them.
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
                    async with self._isolated(replica, deadline_s) if ends >= _SUSPECT else _TOGETHER:
                        return await self._try(
                            replica, path, body, {**headers, **tracing.headers()}, deadline_s=deadline_s
                        )
            except TryFailed as failure:
                has_answered |= failure.is_answer
                ends += failure.is_end
                replica.has_ended |= failure.is_end
                if ends == _BLAMED:
                    log.warning("%d replicas ended with this question in them: no other one is asked", ends)
                    raise QuestionFailed("internal error") from None
                if failure.shed_s is not None:
                    shed_s.append(failure.shed_s)
                    if not self._has_room(tried, deadline_s):
                        raise _all_full(shed_s) from None
                log.debug("replica %s: %s", replica.name, failure)
                if not failure.is_polite:
                    self.failed(replica, failure)

    def failed(self, replica: Replica, failure: TryFailed) -> None:
        """Note a failure, which may eject the replica. A registered one that cannot be reached is dead.

        A replica that answers wrongly stays if less than half of them would be left: the questions may be the cause.
        One that is unreachable or silent goes in any case.
        """
        may_go = failure.is_unreachable or failure.is_silent or self._may_eject(replica)
        if replica.health.failed(self._clock(), is_unreachable=failure.is_unreachable, may_go=may_go):
            metrics.EJECTIONS.labels("unreachable" if failure.is_unreachable else "failures").inc()
            log.warning("replica %s is ejected for a while: %s", replica.name, failure)
        if failure.is_unreachable and replica.registered and replica.state == "ready":
            self._roster.move(replica, "end")

    def unregister(self, replica: Replica) -> None:
        """Give it no more requests. Those it has may take until their deadlines."""
        self._roster.move(replica, "drain")
        self._roster.remove(replica)
        replica.progressed(self._clock(), try_timeout_s=math.inf)

    def _may_eject(self, replica: Replica) -> bool:
        """Whether it is ejected already, or at least half of the ready replicas stay in the rotation without it."""
        if replica.health.out_until_s is not None:
            return True
        ready = self._roster.in_state("ready")
        out = sum(other.health.out_until_s is not None for other in ready if other is not replica)
        return (out + 1) * 2 <= len(ready)

    def _refuse_late(self, deadline_s: float) -> None:
        """Raise QueueFull if every replica predicts an answer after the deadline."""
        now = self._clock()
        predicted = [replica.predicted_s(now) for replica in self._roster.in_state("ready")]
        waits = [wait_s for wait_s in predicted if wait_s is not None]
        if waits and len(waits) == len(predicted) and is_late(min(waits), deadline_s - now):
            metrics.SHED.labels("deadline").inc()
            raise QueueFull("too busy: deadline", retry_after_s=max(1, round(min(waits))))

    def _has_room(self, tried: Set[Replica], deadline_s: float) -> bool:
        """Whether an untried replica is idle, or predicts an answer well before the deadline.

        Under overload none does, and trying all of them would cost more than the refusal.
        """
        now = self._clock()
        others = self._untried(tried)
        if any(replica.outstanding == 0 for replica in others):
            return True
        waits = [replica.predicted_s(now) for replica in others]
        return any(wait_s is not None and wait_s < _WELL_IN_TIME * (deadline_s - now) for wait_s in waits)

    async def _next(self, tried: Set[Replica], deadline_s: float) -> Replica:
        """A replica that was not tried, once there is one: the fleet may be starting one."""
        if self._untried(tried):
            return self.choose(tried)
        if self.waiting >= self.tries.max_waiting:
            metrics.SHED.labels("queue full").inc()
            raise QueueFull("too busy: no replica is ready, and too many wait for one", retry_after_s=1)
        self.waiting += 1
        if self.waiting == 1:
            self.wanted.set()
        try:
            while not self._untried(tried):
                left_s = max(0.0, deadline_s - self._clock())
                limit_s = min(left_s, _CHANGE_S) if self._roster.in_state("ready") else left_s
                self._roster.changed.clear()
                if await within(self._roster.changed.wait(), limit_s):
                    continue
                if limit_s < left_s:
                    raise Unavailable("no replica is left to ask", retry_after_s=1)
                raise DeadlinePassed("no replica was ready in time")
            return self.choose(tried)
        finally:
            self.waiting -= 1

    def _untried(self, tried: Set[Replica]) -> list[Replica]:
        return [replica for replica in self._roster.in_state("ready") if replica not in tried]

    @asynccontextmanager
    async def _isolated(self, replica: Replica, deadline_s: float) -> AsyncIterator[None]:
        """Let a replica run one suspect at a time, so that only the question to blame is blamed.

        Raises DeadlinePassed if its turn comes too late, TryFailed if the replica has ended by then: with the suspect
        before, so that this one had no part in it.
        """
        if not await within(replica.suspects.acquire(), deadline_s - self._clock()):
            raise DeadlinePassed("no replica answered before the deadline")
        try:
            if replica.has_ended:
                raise TryFailed("has ended with another question", is_polite=True)
            yield
        finally:
            replica.suspects.release()

    async def _try(
        self, replica: Replica, path: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float
    ) -> Reply:
        """One try at one replica. Raises TryFailed if another one may be tried."""
        sent_s = self._clock()
        try:
            reply = await self.client.ask(replica, path, body, headers, deadline_s=deadline_s)
        except DeadlinePassed:
            if replica.alive_s <= sent_s and self._clock() - sent_s >= self.tries.silent_s:
                self.failed(replica, TryFailed("it has made no progress since", is_silent=True))
            raise
        if reply.status == 200:
            timing = next((value.decode() for name, value in reply.headers if name == b"server-timing"), "")
            self.traffic.waited(self._clock(), queue_s(timing))
        return reply


def _all_full(shed_s: Sequence[int]) -> QueueFull:
    """One refusal for those of all replicas, with the shortest wait."""
    return QueueFull("too busy: every replica is full", retry_after_s=min(shed_s))
