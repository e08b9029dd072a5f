"""Who sends a request: a client with a key or on this machine, which may see everything, or a stranger."""

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from starlette.requests import Request

from servers.addresses import canonical, is_allowed, is_loopback

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
HostCheck = Callable[[Mapping[bytes, bytes]], str | None]
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{0,5})?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def is_local(request: Request) -> bool:
    """Whether it comes from a loopback address and no proxy forwards it."""
    client = request.client
    return client is not None and is_loopback(client.host) and not _is_forwarded(request)


def is_trusted(request: Request) -> bool:
    """Whether the middleware has checked a key, or the request comes from this machine.

    A request whose source and destination are one address comes from this machine, whichever address that is.
    """
    if request.state.has_key or is_local(request):
        return True
    client, server = request.client, request.scope["server"]
    is_own = client is not None and server is not None and client.host == server[0]
    return is_own and not _is_forwarded(request)


def _is_forwarded(request: Request) -> bool:
    return any(name in request.headers for name in _FORWARDED)


def host_check(bound: str, hosts: str | None) -> HostCheck:
    """A check of a request's Host, which returns what is wrong, or None.

    `bound` is the address that the server listens on. Unless it is a loopback address or `hosts` are set, any Host is
    allowed. A request without a Host comes from no browser.
    """
    is_any = hosts is None and not is_loopback(bound)
    names = f"localhost,{bound}" + ("" if hosts is None else f",{hosts}")

    @lru_cache(maxsize=256)
    def is_ours(host: bytes) -> bool:
        match = _HOST.fullmatch(host.decode("latin-1"))
        return match is not None and is_allowed(canonical(match[1] or match[2]), names)

    def about_host(headers: Mapping[bytes, bytes]) -> str | None:
        host = headers.get(b"host")
        if is_any or host is None or is_ours(host):
            return None
        return f"Host {host.decode('latin-1')[:200]!r} is not one of this server's; --hosts names those that are"

    return about_host


def about_origin(headers: Mapping[bytes, bytes]) -> str | None:
    """What is wrong with a request's Origin, which must be its Host, or None."""
    origin = headers.get(b"origin")
    if origin is None or _is_same(origin.decode("latin-1"), headers.get(b"host", b"").decode("latin-1")):
        return None
    return f"Origin {origin.decode('latin-1')[:200]!r} is another site"


def _is_same(origin: str, host: str) -> bool:
    scheme, _, place = origin.lower().partition("://")
    default = _DEFAULT_PORTS.get(scheme)
    if default is None or not place:
        return False
    return place.removesuffix(default) == host.lower().removesuffix(default)


def bears(authorization: str, keys: Sequence[str]) -> bool:
    """Whether the Authorization header carries one of the keys. Compares in constant time."""
    scheme, _, token = authorization.partition(" ")
    # All keys are compared; a header's bytes are Latin-1.
    matches = [hmac.compare_digest(token.strip().encode("latin-1"), key.encode()) for key in keys]
    return scheme.lower() == "bearer" and any(matches)
