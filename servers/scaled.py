"""Design 3, scaled: a load balancer and an autoscaler over N `batched` replicas, in one command.

This process holds no model. It starts ordinary `batched` servers as children, passes each request to one of them
(`balancer.py`), and every half second asks a policy how many there should be (`policies/scaling.py`).
"""

import asyncio
import logging
import sys
import time
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import Field
from starlette.requests import ClientDisconnect

from policies import routing, scaling
from servers import admin, metrics
from servers.addresses import check_hosts
from servers.api import State, or_hang_up
from servers.balancer import Balancer
from servers.batched import BatchedSettings
from servers.envelope import REQUEST_ID
from servers.errors import ClientGone
from servers.fleet import Fleet
from servers.keys import KEY_PATTERN
from servers.rag.build import check_names
from servers.replica import Roster
from servers.settings import ENV_PREFIX, chosen, flags

__all__ = ["SETTINGS", "Scaled", "ScaledSettings", "create"]

log = logging.getLogger(__name__)


class ScaledSettings(BatchedSettings):
    """What can be set on the fleet; the settings of `batched` are handed to the replicas."""

    port: int = Field(9000, ge=0, le=65535, description="port to listen on; 0 is any free one")
    base_port: int = Field(8000, ge=1, le=65535, description="replicas take the free ports from here up")
    min_replicas: int = Field(2, ge=1, description="there are never fewer")
    max_replicas: int = Field(3, ge=1, description="there are never more")
    routing: str = Field("least_outstanding", description=f"who gets a request: {', '.join(routing.POLICIES)}")
    scaling: str = Field("outstanding", description=f"how many replicas: {' or '.join(scaling.POLICIES)}")
    outstanding_per_replica: float = Field(16.0, gt=0, description="target of the rule `outstanding`")
    queue_wait_target_s: float = Field(0.5, gt=0, description="a longer queue wait (p95) asks for one replica more")
    up_rps: float = Field(29.0, gt=0, description="rule `request_rate`: one replica more from here")
    down_rps: float = Field(25.0, gt=0, description="rule `request_rate`: one replica fewer from here")
    up_cooldown_s: float = Field(3.0, ge=0, description="rest between two steps up")
    down_cooldown_s: float = Field(30.0, ge=0, description="how long the load must stay low before a step down")
    scale_interval_s: float = Field(0.5, gt=0, description="time between two decisions")
    ready_timeout_s: float = Field(120.0, gt=0, description="time that a replica is given to get ready")
    admin_token: str | None = Field(
        None,
        pattern=KEY_PATTERN,
        description="bearer token of /register and /unregister, loopback only unless set; rather set RAG_ADMIN_TOKEN",
    )
    allow_hosts: str = Field(
        "localhost", description="who may be registered: names, addresses, networks; localhost is any loopback address"
    )

    def keys(self) -> tuple[str, ...]:
        """The admin's token opens every route."""
        keys = super().keys()
        return keys if not keys or self.admin_token is None else (*keys, self.admin_token)


SETTINGS = ScaledSettings


class Scaled:
    """A roster of replicas, the fleet that keeps them alive, the balancer that uses them, the loop that resizes."""

    def __init__(self, settings: ScaledSettings) -> None:
        self._settings = settings
        limits = scaling.Limits(
            settings.min_replicas, settings.max_replicas, settings.up_cooldown_s, settings.down_cooldown_s
        )
        self._policy = chosen("scaling", scaling.POLICIES, settings, limits=limits)
        self._roster = Roster()
        self._balancer = Balancer(
            self._roster,
            _routing_policy(settings),
            request_timeout_s=settings.request_timeout_s,
            api_key=settings.api_key,
            seed=settings.seed,
        )
        self._fleet = Fleet(
            self._roster,
            replica_command(settings),
            host=settings.host,
            base_port=settings.base_port,
            ready_timeout_s=settings.ready_timeout_s,
            drain_s=settings.drain_s / 2,
            environment={} if settings.api_key is None else {f"{ENV_PREFIX}API_KEY": settings.api_key},
        )
        self._about: dict[str, Any] = {}
        self._scaling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the least number of replicas; ready when all of them are. Raises FleetError."""
        await self._balancer.open()
        await self._fleet.start(self._settings.min_replicas)
        replica_info = await self._balancer.info(self._roster.own("ready")[0].url)
        self._about = {
            key: value for key, value in replica_info.items() if key not in ("design", "replica", "settings")
        }
        self._scaling = asyncio.create_task(self._autoscale(), name="autoscaler")

    async def stop(self) -> None:
        """Stop deciding, then the replicas, then the connections to them."""
        if self._scaling is not None:
            self._scaling.cancel()
            await asyncio.wait({self._scaling})
        await self._fleet.stop()
        await self._balancer.close()

    def info(self) -> dict[str, Any]:
        """The replicas now, and models, corpus, device and versions as the first replica told them."""
        return {"replicas": [replica.describe() for replica in self._roster], **self._about}

    def mount(self, app: FastAPI, state: State) -> None:
        """`POST /rag` by proxy, and the routes about replicas."""
        settings = self._settings
        admin.add_routes(
            app,
            self._roster,
            self._balancer,
            admin_token=settings.admin_token,
            allow_hosts=settings.allow_hosts,
        )
        timeout_s = settings.request_timeout_s

        @app.post("/rag")
        async def rag(request: Request) -> Response:
            """The body goes through unread: the replica validates it."""
            state.require_ready()
            try:
                body = await request.body()
            except ClientDisconnect as error:
                raise ClientGone("the client closed the connection") from error
            headers = {REQUEST_ID: request.state.request_id}
            if "Content-Type" in request.headers:
                headers["Content-Type"] = request.headers["Content-Type"]
            reply = await or_hang_up(request, self._balancer.forward(body, headers), timeout_s=timeout_s)
            return Response(reply.body, reply.status, reply.headers)

    async def _autoscale(self) -> None:
        """Every `scale_interval_s`: look, ask the policy, resize. Also replaces replicas that died."""
        while True:
            await asyncio.sleep(self._settings.scale_interval_s)
            try:
                await self._decide(time.monotonic())
            except Exception:
                log.exception("a scaling decision failed; the next one is tried all the same")

    async def _decide(self, now: float) -> None:
        for replica in self._roster.in_state("dead"):
            if replica.registered and await self._balancer.is_ready(replica.url):
                self._roster.move(replica, "ready")
        ready, starting = self._roster.own("ready"), self._roster.own("starting")
        fleet = scaling.Fleet(
            ready=len(ready),
            starting=len(starting),
            outstanding=sum(replica.outstanding for replica in ready),
            queue_wait_p95_s=self._balancer.traffic.queue_wait_p95_s(now),
            arrival_rps=self._balancer.traffic.arrival_rps(now),
        )
        target = self._policy.target(fleet, now)
        if self._fleet.resize(target.replicas):
            log.info("scaling from %d to %d (%s): %s", fleet.size, target.replicas, target.reason, fleet)
            metrics.SCALINGS.labels("up" if target.replicas > fleet.size else "down").inc()


def create(settings: ScaledSettings) -> Scaled:
    """The design with its settings; nothing is started yet. Raises ValueError on an unknown name or odd limits."""
    check_names(settings)
    check_hosts(settings.allow_hosts)
    return Scaled(settings)


def replica_command(settings: ScaledSettings) -> list[str]:
    """The command of one replica, less its port: the same interpreter, the settings that `batched` knows."""
    ours = {"port", "replica", "stop_with_parent", "drain_s"}
    drain = ["--drain-s", str(settings.drain_s / 2)]
    return [sys.executable, "-m", "servers", "batched", *flags(settings, of=BatchedSettings, leave_out=ours), *drain]


def _routing_policy(settings: ScaledSettings) -> routing.RoutingPolicy:
    if settings.routing not in routing.POLICIES:
        raise ValueError(f"routing must be one of {', '.join(routing.POLICIES)}, got {settings.routing!r}")
    return routing.POLICIES[settings.routing]
