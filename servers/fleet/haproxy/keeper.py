"""Keeps an HAProxy in step with a roster: looks, plans, tells, again and again. Decides no weight, starts no replica.

Each round reads HAProxy's whole state. So a reload, which loses what the runtime API has set, is mended by the next.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from policies.routing import Load
from policies.weights import Weigh
from servers.addresses import parsed
from servers.fleet.haproxy import commands
from servers.fleet.haproxy.plan import Wanted, busy, plan
from servers.fleet.haproxy.runtime import Away, RuntimeApi
from servers.fleet.haproxy.servers import (
    Place,
    Refused,
    Server,
    Totals,
    ask_stat,
    ask_state,
    read_servers,
    read_totals,
)
from servers.fleet.processes import FleetError
from servers.fleet.replica import Roster
from servers.fleet.traffic import Traffic
from servers.tasks import within
from servers.telemetry import metrics

log = logging.getLogger(__name__)
_LOOK_S = 0.25  # a reload is noticed, and a drained replica released, so soon
_MAX_BACKOFF_S = 1.0
_LOOKUP_S = 2.0


class NoHAProxy(FleetError):
    """The HAProxy of the settings is not there, or is not what they say; the message names the setting."""

    status = 2


@dataclass(frozen=True, slots=True)
class Front:
    """Which HAProxy: the address of its runtime API and the name of the backend. `least`: servers that it must have."""

    address: str
    backend: str
    weigh: Weigh
    least: int


class Keeper:
    """Keeps `front` in step. What HAProxy counts goes to `traffic` and to rag_retries_total."""

    def __init__(
        self, front: Front, roster: Roster, traffic: Traffic, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.waiting = 0  # requests at HAProxy that no server has
        self._front = front
        self._api = RuntimeApi(front.address)
        self._roster = roster
        self._traffic = traffic
        self._clock = clock
        self._places: dict[str, Place] = {}
        self._unknown: set[str] = set()  # URLs whose names were not found
        self._seen: Totals | None = None
        self._problem: str | None = None
        self._failures = 0

    async def begin(self) -> None:
        """Take over the backend: servers of an earlier fleet are freed. Raises NoHAProxy."""
        try:
            servers = await self._look()
            if len(servers) < self._front.least:
                raise NoHAProxy(
                    f"HAProxy's backend {self._front.backend} has {len(servers)} servers, wanted as many as"
                    f" --max-replicas, {self._front.least}: raise the number of its server-template"
                )
            await self.once()
        except Away as error:
            raise NoHAProxy(f"{error} (--haproxy-socket)") from error
        except Refused as error:
            raise NoHAProxy(f"HAProxy at {self._front.address}: {error} (--haproxy-backend)") from error

    async def once(self) -> None:
        """One round. Raises Away; Refused after all commands that were not."""
        servers = await self._look()
        await self._place_all()
        wanted = self._wanted(self._clock())
        in_use = busy(servers) | {each.place for each in wanted if each.takes}
        for replica in self._roster:
            if self._places.get(replica.url) in in_use:
                replica.released.clear()
            else:
                replica.released.set()
        made = plan(self._front.backend, servers, wanted)
        refused = [error for group in made.groups if (error := await self._tell(group)) is not None]
        if refused:
            raise refused[0]
        if made.missing:
            raise Refused(
                f"its backend {self._front.backend} has {len(servers)} servers, and {made.missing} replicas find none"
                " free: raise the number of its server-template"
            )

    async def run(self) -> None:
        """Run until cancelled: a round every quarter of a second and at each change, with pauses while it fails."""
        while True:
            version = self._roster.version
            pause_s = await self._round()
            if self._roster.version == version:  # nothing is awaited from here to `wait`, so that no change is missed
                self._roster.changed.clear()
                await within(self._roster.changed.wait(), pause_s)

    async def end(self) -> None:
        """Free all servers: nobody looks after the replicas from now on."""
        try:
            for group in plan(self._front.backend, await self._look(), ()).groups:
                await self._tell(group)
        except (Away, Refused) as error:
            log.warning("the servers of HAProxy are left as they are: %s", error)

    async def _round(self) -> float:
        """One round, whose failure is logged once. -> seconds until the next."""
        try:
            await self.once()
        except (Away, Refused) as error:
            problem = str(error)
        else:
            if self._problem is not None:
                log.info("HAProxy is in step with the fleet again")
            self._problem, self._failures = None, 0
            return _LOOK_S
        metrics.HAPROXY_FAILURES.inc()
        if problem != self._problem:
            log.warning("HAProxy is not in step with the fleet, and is tried again: %s", problem)
        self._problem = problem
        self._failures += 1
        return min(_MAX_BACKOFF_S, _LOOK_S * 2.0 ** min(self._failures - 1, 10))

    async def _look(self) -> list[Server]:
        backend = self._front.backend
        state = await self._api.ask(ask_state(backend))
        stat = await self._api.ask(ask_stat(backend))  # last: a server that drained before and has none gets none
        servers = read_servers(backend, state, stat)
        self._count(read_totals(backend, stat))
        return servers

    def _count(self, totals: Totals) -> None:
        """Note what came since the last look; a HAProxy that has started anew counts from 0."""
        before = self._seen or totals
        if totals.requests < before.requests:
            before = Totals(0, 0, 0)
        self._traffic.arrived_elsewhere(self._clock(), totals.requests - before.requests)
        metrics.RETRIES.inc(max(0, totals.retries - before.retries))
        self._seen, self.waiting = totals, totals.waiting

    def _wanted(self, now: float) -> list[Wanted]:
        """Ready ones take requests, unless they are ejected; draining ones keep theirs."""
        replicas = [replica for replica in self._roster if replica.url in self._places]
        ready = [replica for replica in replicas if replica.state == "ready"]
        for replica in ready:
            # Its heartbeat is the trial: no request of ours may come to be one.
            if replica.health.out_until_s is not None and replica.missed == 0:
                replica.health.answered(now)
        taking = [replica for replica in ready if replica.health.out_until_s is None] or ready
        loads = [
            Load(replica.name, replica.load(now).outstanding, replica.reported_rps, replica.health.share(now))
            for replica in taking
        ]
        weights = dict(zip(taking, self._front.weigh(loads), strict=True))
        return [
            Wanted(self._places[replica.url], replica in weights, weights.get(replica, 1))
            for replica in replicas
            if replica.state in ("ready", "draining")
        ]

    async def _place_all(self) -> None:
        """Look up the IP address of each new replica: HAProxy takes no name. One whose name is unknown waits."""
        urls = {replica.url for replica in self._roster}
        self._places = {url: place for url, place in self._places.items() if url in urls}
        for url in urls - self._places.keys():
            address = parsed(url)
            try:
                async with asyncio.timeout(_LOOKUP_S):
                    infos = await asyncio.get_running_loop().getaddrinfo(address.host, address.port)
            except OSError as error:  # a timeout is one
                if url not in self._unknown:
                    log.warning("HAProxy cannot be told of %s: %s", url, error or "its name was not found in time")
                self._unknown.add(url)
            else:
                self._unknown.discard(url)
                self._places[url] = str(infos[0][4][0]), address.port

    async def _tell(self, group: Sequence[str]) -> Refused | None:
        """Send the commands for one server, up to the first that is refused. Raises Away."""
        for command in group:
            try:
                commands.check(command, await self._api.ask(command))
            except Refused as error:
                return error
        return None
