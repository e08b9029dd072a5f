"""Whether a request is meant for this server: its Host is one of ours, and its Origin no other site. Answers nobody.

A browser on this machine reaches what listens on loopback. A page of another site whose name leads to 127.0.0.1 (DNS
rebinding) comes with that name as Host; a page that sends without being able to read comes with its site as Origin.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from servers.addresses import canonical, is_allowed, is_loopback

__all__ = ["HostCheck", "host_check"]

HostCheck = Callable[[Mapping[bytes, bytes]], str | None]
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{0,5})?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def host_check(bound: str, hosts: str | None) -> tuple[HostCheck, HostCheck]:
    """Two checks of a request's headers, of its Host and of its Origin: each is what is wrong, or None.

    `bound` is the address that the server listens on. Where that is no loopback address and there are no `hosts`, any
    Host will do. A request without a Host comes from no browser.
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

    def about_origin(headers: Mapping[bytes, bytes]) -> str | None:
        origin = headers.get(b"origin")
        if origin is None or _is_same(origin.decode("latin-1"), headers.get(b"host", b"").decode("latin-1")):
            return None
        return f"Origin {origin.decode('latin-1')[:200]!r} is another site"

    return about_host, about_origin


def _is_same(origin: str, host: str) -> bool:
    scheme, _, place = origin.lower().partition("://")
    default = _DEFAULT_PORTS.get(scheme)
    if default is None or not place:
        return False
    return place.removesuffix(default) == host.lower().removesuffix(default)
