"""Routes about replicas, the registration of replicas that were started elsewhere, and the proxy of tasks."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel

from servers.addresses import Address, is_allowed, is_here, parsed
from servers.errors import BadRequest, Forbidden
from servers.fleet.balancer import Balancer
from servers.fleet.replica import Replica, Roster
from servers.http.app import add_responder
from servers.http.auth import bears, is_local, is_trusted
from servers.http.endpoints import ASSIGN, RAG, REGISTER, REPLICAS, TASKS, UNREGISTER
from servers.http.exchange import Exchange, Reply
from servers.http.state import State

log = logging.getLogger(__name__)
Forward = Callable[..., Awaitable[Reply]]
"""(path, body, headers, *, deadline_s) -> the answer of a replica."""
_PASSED_ON = ("Content-Type", "traceparent", "tracestate")


class Registration(BaseModel):
    """The body of `/register` and `/unregister`: a base address, `http://host:port`."""

    url: str


def add_routes(
    app: FastAPI,
    roster: Roster,
    balancer: Balancer,
    *,
    admin_token: str | None,
    allow_hosts: str,
    max_registered: int,
) -> None:
    """`GET /replicas`, `GET /assign`, `POST /register`, `POST /unregister`."""

    @app.get(REPLICAS.path)
    async def replicas(request: Request) -> dict[str, list[dict[str, Any]]]:
        may_look(request)
        return {"replicas": [replica.describe() for replica in roster]}

    @app.get(ASSIGN.path)
    async def assign(request: Request) -> dict[str, str]:
        may_look(request)
        return {"backend": balancer.choose().url + RAG.path}

    @app.post(REGISTER.path)
    async def register(registration: Registration, request: Request) -> dict[str, Any]:
        authorise(request, admin_token)
        address = parsed(registration.url)
        if not is_allowed(address.host, allow_hosts):
            raise BadRequest(f"url: {address.host} is not among the hosts of --allow-hosts: {allow_hosts}")
        if address.port == request.scope["server"][1] and is_here(await _resolved(address)):
            raise BadRequest("url: that is this balancer itself")
        url = str(address)
        _check_room(roster, address, None if admin_token is not None else max_registered)
        if not await balancer.client.is_ready(url):
            raise BadRequest(f"url: no server at {url} answers GET /ready with 200")
        # Others may have come meanwhile.
        _check_room(roster, address, None if admin_token is not None else max_registered)
        replica = roster.find(url)
        log.info("%s was registered", url, extra={"by": request.client.host if request.client else "nobody"})
        if replica is None:
            replica = Replica(url, registered=True, state="ready")
            roster.add(replica)
        elif replica.registered:
            roster.move(replica, "return")
        return replica.describe()

    @app.post(UNREGISTER.path)
    async def unregister(registration: Registration, request: Request) -> dict[str, Any]:
        authorise(request, admin_token)
        replica = roster.find(str(parsed(registration.url)))
        if replica is None or not replica.registered:
            raise BadRequest(f"url: {registration.url[:200]} was not registered here")
        log.info("%s was unregistered", replica.url, extra={"by": request.client.host if request.client else "nobody"})
        balancer.unregister(replica)
        return replica.describe()


def may_look(request: Request) -> None:
    """Raise Forbidden unless the request comes from this machine, or the middleware has checked its key."""
    if not is_trusted(request):
        raise Forbidden("only from this machine, unless the server is started with RAG_API_KEY")


def authorise(request: Request, admin_token: str | None) -> None:
    """Raise Forbidden unless the request carries the token or, if none is set, comes from this machine."""
    if admin_token is not None:
        if not bears(request.headers.get("Authorization", ""), [admin_token]):
            raise Forbidden("a bearer token is needed here")
    elif not is_local(request):
        raise Forbidden("only from this machine, unless the server is started with RAG_ADMIN_TOKEN")


def _check_room(roster: Roster, address: Address, most: int | None) -> None:
    """Raise BadRequest on another address of a known replica, Forbidden beyond `most` registered ones."""
    if roster.find(str(address)) is not None:
        return
    for replica in roster:
        if parsed(replica.url).place == address.place:
            raise BadRequest(f"url: that is the replica {replica.url}; all loopback addresses count as one host")
    if most is not None and sum(replica.registered for replica in roster) >= most:
        raise Forbidden(f"at most {most} replicas may be registered where no admin_token is set (max_registered)")


async def _resolved(address: Address) -> set[str]:
    """The IP addresses of a name; none if it is unknown."""
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {str(where[0]) for *_, where in infos}


def add_proxy_routes(app: FastAPI, state: State, forward: Forward, *, request_timeout_s: float) -> None:
    """Proxy every task. The replica validates the body; the request keeps its id and its remaining time."""
    state.passes_on = True

    async def respond(exchange: Exchange, body: bytes, deadline_s: float) -> Reply:
        given = ((name, exchange.header(name.lower().encode())) for name in _PASSED_ON)
        headers = {name: value for name, value in given if value is not None}
        headers["X-Request-Id"] = exchange.request_id
        return await forward(exchange.path, body, headers, deadline_s=deadline_s)

    for endpoint in TASKS:
        add_responder(app, state, endpoint, respond, request_timeout_s=request_timeout_s)
