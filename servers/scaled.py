"""Design 3, scaled: a load balancer and an autoscaler over N `batched` replicas, in one command.

This process holds no model. It starts ordinary `batched` servers as children (`fleet/processes.py`), passes each
request to one of them and to another if that fails (`fleet/balancer.py`), replaces those that hang
(`fleet/heartbeat.py`), and every half second asks a policy how many there should be (`fleet/autoscaler.py`,
`policies/scaling.py`).
"""

import asyncio
import logging
import os
import secrets
import sys
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request
from prometheus_client import generate_latest
from pydantic import Field

from policies import routing, scaling
from policies.health import HealthRules
from policies.weights import WEIGHTS
from servers.batched import BatchedSettings
from servers.fleet import routes
from servers.fleet.asking.client import Keys
from servers.fleet.autoscaler import Autoscaler
from servers.fleet.balancer import Tries
from servers.fleet.haproxy.keeper import Front
from servers.fleet.local import LocalFleet
from servers.fleet.placement import visible_gpus
from servers.fleet.processes import Start
from servers.fleet.routes import add_proxy_routes
from servers.http.endpoints import SCALING
from servers.http.state import State
from servers.rag.build import check_names
from servers.settings import ENV_PREFIX, KEY_PATTERN, HostList, chosen, flags
from servers.tasks import Background


class ScaledSettings(BatchedSettings):
    """What can be set on the fleet; the settings of `batched` are handed to the replicas."""

    port: int = Field(9000, ge=0, le=65535, description="port to listen on; 0 is any free one")
    base_port: int = Field(8000, ge=1, le=65535, description="replicas take the free ports from here up")
    min_replicas: int = Field(2, ge=0, description="there are never fewer; 0: none while nobody asks")
    max_replicas: int = Field(3, ge=1, description="there are never more")
    log_dir: Path | None = Field(None, description="folder for a log of each replica; with the fleet's unless set")
    slow_replica: float = Field(1.0, ge=1, description="the first replica gets this --slowdown: a fault, for studies")
    faulty_replica: Literal["engine", "batcher"] | None = Field(
        None, description="profile stub: the first replica gets this --stub-fault: a fault, for studies"
    )
    routing: str = Field("least_work", description=f"who gets a request: {', '.join(routing.POLICIES)}")
    traffic: Literal["own", "haproxy"] = Field(
        "own", description="who sends requests to the replicas: this process, or an HAProxy that it keeps in step"
    )
    haproxy_socket: str = Field(
        "/run/haproxy/admin.sock",
        pattern=r"^(/[!-~]+|[!-~]+/[!-~]+|[!-~]+:[0-9]{1,5})$",
        description="traffic haproxy: HAProxy's runtime API, the path of a socket (with a /) or host:port",
    )
    haproxy_backend: str = Field(
        "replicas",
        pattern=r"^[A-Za-z0-9_.:-]+$",
        description="traffic haproxy: the backend whose servers are all the fleet's",
    )
    scaling: str = Field("outstanding", description=f"how many replicas: {' or '.join(scaling.POLICIES)}")
    outstanding_per_replica: float = Field(16.0, gt=0, description="target of the rule `outstanding`")
    queue_wait_target_s: float = Field(0.5, gt=0, description="a longer queue wait (p95) asks for one replica more")
    up_rps: float = Field(29.0, gt=0, description="rule `request_rate`: one replica more from here")
    down_rps: float = Field(25.0, gt=0, description="rule `request_rate`: one replica fewer from here")
    up_cooldown_s: float = Field(3.0, ge=0, description="rest between two steps up")
    down_cooldown_s: float = Field(30.0, ge=0, description="how long the load must stay low before a step down")
    scale_interval_s: float = Field(0.5, gt=0, description="time between two decisions")
    ready_timeout_s: float = Field(120.0, gt=0, description="time that a replica is given to get ready")
    try_timeout_s: float | None = Field(
        None, gt=0, description="a replica without progress for so long loses its requests to others; 30 unless set"
    )
    heartbeat_s: float = Field(1.0, gt=0, description="time between two looks at each replica; three misses: it hangs")
    slow_start_s: float = Field(2.0, ge=0, description="time in which a new replica's share of the load grows")
    admin_token: str | None = Field(
        None,
        pattern=KEY_PATTERN,
        description="bearer token of /register and /unregister, loopback only unless set; rather set RAG_ADMIN_TOKEN",
    )
    max_registered: int = Field(
        16, ge=0, description="so many replicas may be registered where no admin_token is set; with one, any number"
    )
    allow_hosts: HostList = Field(
        "localhost", description="who may be registered: names, addresses, networks; localhost is any loopback address"
    )

    def keys(self) -> tuple[str, ...]:
        """The admin's token opens every route."""
        keys = super().keys()
        return keys if not keys or self.admin_token is None else (*keys, self.admin_token)


SETTINGS = ScaledSettings
log = logging.getLogger(__name__)


class Scaled:
    """A fleet, the loop that resizes it, and the routes to it."""

    def __init__(self, settings: ScaledSettings) -> None:
        self._settings = settings
        limits = scaling.Limits(
            settings.min_replicas, settings.max_replicas, settings.up_cooldown_s, settings.down_cooldown_s
        )
        policy = chosen("scaling", scaling.POLICIES, settings, limits=limits)
        if settings.link_key is None:
            settings = settings.model_copy(update={"link_key": secrets.token_urlsafe()})
        self._fleet = LocalFleet(
            replica_start(settings),
            _routing_policy(settings),
            rules=HealthRules(slow_start_s=settings.slow_start_s),
            tries=Tries(settings.time_limits.try_timeout_s, settings.max_queue, silent_s=2 * settings.heartbeat_s),
            heartbeat_s=settings.heartbeat_s,
            keys=Keys(settings.api_key, settings.link_key),
            front=_front(settings),
            seed=settings.seed,
        )
        self._autoscaler = Autoscaler(self._fleet, policy, every_s=settings.scale_interval_s, name=settings.scaling)
        self._about: dict[str, Any] = {}
        self._loops: list[asyncio.Task[None]] = []

    async def start(self, background: Background) -> None:
        """Start the least number of replicas; ready when all of them are. Raises FleetError."""
        await self._fleet.start(self._settings.min_replicas, background)
        await self._ask_about()
        self._loops = [
            background.keep(self._autoscaler.run(), name="autoscaler"),
            background.start(self._learn(), name="about"),
        ]

    async def stop(self) -> None:
        """Stop the autoscaler, then the fleet."""
        for loop in self._loops:
            loop.cancel()
        await self._fleet.stop()

    def info(self) -> dict[str, Any]:
        """The replicas, and models, corpus, device and versions of the first one."""
        return {"replicas": [replica.describe() for replica in self._fleet.roster], **self._about}

    async def exposition(self) -> str:
        """The fleet's own metrics combined with those of its replicas."""
        return await self._fleet.exposition(generate_latest().decode())

    def mount(self, app: FastAPI, state: State) -> None:
        """Every task by proxy, and the routes about replicas and their number."""
        settings = self._settings
        routes.add_routes(
            app,
            self._fleet.roster,
            self._fleet.balancer,
            admin_token=settings.admin_token,
            allow_hosts=settings.allow_hosts,
            max_registered=settings.max_registered,
        )
        if settings.admin_token is None:
            log.info("every user of this machine may register replicas: on a shared one, set RAG_ADMIN_TOKEN")
        add_proxy_routes(app, state, self._fleet.forward, request_timeout_s=settings.request_timeout_s)

        @app.get(SCALING.path)
        async def decisions(request: Request) -> dict[str, Any]:
            routes.may_look(request)
            return self._autoscaler.describe()

    async def _learn(self) -> None:
        """Read `GET /info` of the first replica, once there is one."""
        while not self._about:
            self._fleet.roster.changed.clear()
            await self._ask_about()
            if not self._about:
                await self._fleet.roster.changed.wait()

    async def _ask_about(self) -> None:
        info = await self._fleet.about()
        self._about = {key: info[key] for key in info if key not in ("design", "replica", "settings")}


def create(settings: ScaledSettings) -> Scaled:
    """The design with its settings; nothing is started yet. Raises ValueError on an unknown name or odd limits."""
    check_names(settings)
    if settings.faulty_replica is not None and settings.profile != "stub":
        raise ValueError(f"faulty_replica: a fault to order, for --profile stub alone; got {settings.profile}")
    if settings.traffic == "haproxy" and settings.min_replicas == 0:
        raise ValueError("min_replicas: must be >= 1 with --traffic haproxy, which keeps no request until one is ready")
    return Scaled(settings)


def replica_start(settings: ScaledSettings) -> Start:
    """How a replica is started: with the same interpreter and the settings of `batched`."""
    gpus = [] if settings.device == "cpu" else visible_gpus(os.environ)
    device = ["--device", "cuda" if gpus else settings.device]  # a replica with a GPU must use it
    ours = {"port", "replica", "stop_with_parent", "drain_s", "hang_s", "device"}
    drain_s = settings.drain_s / 2
    keys = {"api_key": settings.api_key, "link_key": settings.link_key}
    given = [*flags(settings, of=BatchedSettings, leave_out=ours), "--hang-s", str(settings.time_limits.hang_s)]
    return Start(
        [sys.executable, "-m", "servers", "batched", *given, *device, "--drain-s", str(drain_s)],
        host=settings.host,
        base_port=settings.base_port,
        ready_timeout_s=settings.ready_timeout_s,
        drain_s=drain_s,
        gpus=gpus,
        environment={f"{ENV_PREFIX}{name.upper()}": key for name, key in keys.items() if key is not None},
        log_dir=settings.log_dir,
        first=_first(settings),
        longest_s=settings.request_timeout_s,
    )


def _first(settings: ScaledSettings) -> list[str]:
    """Flags of the first replica alone: a fault to inject."""
    slow = ["--slowdown", str(settings.slow_replica)] if settings.slow_replica > 1 else []
    return slow + ([] if settings.faulty_replica is None else ["--stub-fault", settings.faulty_replica])


def _routing_policy(settings: ScaledSettings) -> routing.RoutingPolicy:
    if settings.routing not in routing.POLICIES:
        raise ValueError(f"routing must be one of {', '.join(routing.POLICIES)}, got {settings.routing!r}")
    return routing.POLICIES[settings.routing]


def _front(settings: ScaledSettings) -> Front | None:
    """The HAProxy that sends the requests, if one does."""
    if settings.traffic == "own":
        return None
    return Front(
        settings.haproxy_socket,
        settings.haproxy_backend,
        weigh=WEIGHTS[settings.routing],
        least=settings.max_replicas,
    )
