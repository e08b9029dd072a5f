"""The routes about replicas: who there is, who would be next, and replicas that were started elsewhere."""

import hmac
import ipaddress
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from pydantic import BaseModel

from servers.balancer import Balancer
from servers.errors import BadRequest, Forbidden
from servers.replica import Replica, Roster

__all__ = ["add_routes"]


class Address(BaseModel):
    """The body of `/register` and `/unregister`: a base address, `http://host:port`."""

    url: str


def add_routes(app: FastAPI, roster: Roster, balancer: Balancer, *, admin_token: str | None) -> None:
    """`GET /replicas`, `GET /assign`, `POST /register`, `POST /unregister`."""

    @app.get("/replicas")
    async def replicas() -> dict[str, list[dict[str, Any]]]:
        return {"replicas": [replica.describe() for replica in roster]}

    @app.get("/assign")
    async def assign() -> dict[str, str]:
        return {"backend": f"{balancer.choose().url}/rag"}

    @app.post("/register")
    async def register(address: Address, request: Request) -> dict[str, Any]:
        authorise(request, admin_token)
        url = checked(address.url, any_host=admin_token is not None, own_port=request.scope["server"][1])
        if not await balancer.is_ready(url):
            raise BadRequest(f"url: no server at {url} answers GET /ready with 200")
        replica = roster.find(url)
        if replica is None:
            replica = Replica(url, registered=True, state="ready")
            roster.add(replica)
        elif replica.registered:
            roster.move(replica, "ready")
        return replica.describe()

    @app.post("/unregister")
    async def unregister(address: Address, request: Request) -> dict[str, Any]:
        authorise(request, admin_token)
        replica = roster.find(checked(address.url, any_host=True))
        if replica is None or not replica.registered:
            raise BadRequest(f"url: {address.url} was not registered here")
        roster.move(replica, "draining")
        roster.remove(replica)
        return replica.describe()


def authorise(request: Request, admin_token: str | None) -> None:
    """Raise Forbidden unless the request carries the token, or, where none is set, comes from this machine."""
    if admin_token is not None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), admin_token.encode()):
            raise Forbidden("a bearer token is needed here")
    elif request.client is None or not _is_loopback(request.client.host):
        raise Forbidden("only from this machine, unless the server is started with --admin-token")


def checked(url: str, *, any_host: bool, own_port: int | None = None) -> str:
    """The address in one spelling. Raises BadRequest: the balancer is not aimed at just anything, nor at itself."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise BadRequest(f"url: {error}, got {url!r}") from error
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.username:
        raise BadRequest(f"url: wanted http://host:port, got {url!r}")
    if not any_host and not _is_loopback(parts.hostname):
        raise BadRequest("url: only this machine's replicas, unless the server is started with --admin-token")
    if port == own_port and _is_loopback(parts.hostname):
        raise BadRequest("url: that is this balancer itself")
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
