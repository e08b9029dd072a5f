"""Addresses of replicas, clients and this machine, each in one canonical form. Connects to nothing."""

import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from servers.errors import BadRequest

IP = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Address:
    """Address of a server. `host` is an IP address as ipaddress writes it, or a name in lower case."""

    host: str
    port: int

    @property
    def place(self) -> tuple[str, int]:
        """Host and port, with all loopback addresses as one host: one process may listen on all of them."""
        return ("localhost" if is_loopback(self.host) else self.host), self.port

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def parsed(url: str) -> Address:
    """The address of `http://host:port`, by default port 80. Raises BadRequest on any other URL."""
    wanted = f"url: wanted http://host:port, got {url[:200]!r}"
    if not url.isascii() or not url.isprintable() or set(url) & set(" \\@?#%"):
        raise BadRequest(wanted)
    try:
        parts = urlsplit(url)
        port = 80 if parts.port is None else parts.port
    except ValueError as error:
        raise BadRequest(wanted) from error
    if parts.scheme != "http" or parts.path not in ("", "/") or port == 0 or parts.netloc.endswith(":"):
        raise BadRequest(wanted)
    host = canonical(parts.hostname or "")
    if not host:
        raise BadRequest(wanted)
    return Address(host, port)


def check_hosts(hosts: str) -> str:
    """The same string. Raises ValueError on an entry that is no name, address or network."""
    for entry in _entries(hosts):
        if "/" in entry:
            ipaddress.ip_network(entry, strict=False)
        elif not re.fullmatch(r"[a-z0-9._:-]+", entry, re.IGNORECASE):
            raise ValueError(f"wanted names, addresses or networks with commas between, got {entry!r}")
    return hosts


def is_allowed(host: str, allow_hosts: str) -> bool:
    """Whether one of the comma-separated entries is this host, or a network that contains it.

    The entry `localhost` covers every loopback address. Names are compared, not resolved: DNS may change afterwards.
    """
    ip = _ip(host)
    for entry in _entries(allow_hosts):
        if host == canonical(entry) or (entry == "localhost" and is_loopback(host)):
            return True
        if ip is not None and "/" in entry and ip in ipaddress.ip_network(entry, strict=False):
            return True
    return False


def canonical(host: str) -> str:
    """One form for all spellings of a host: `127.1`, `0x7f000001`, `::ffff:127.0.0.1` and `LOCALHOST.` are one."""
    host = host.lower().removesuffix(".")
    ip = _ip(host) or _old(host)
    if ip is None:
        return "127.0.0.1" if host == "localhost" else host
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_unspecified:  # connecting to it connects to this machine
        return "127.0.0.1" if ip.version == 4 else "::1"
    return str(ip)


def is_loopback(host: str) -> bool:
    """Whether it is a loopback address; `0.0.0.0` and `::` are not."""
    ip = _ip(host)
    if ip is not None and ip.is_unspecified:
        return False
    ip = _ip(canonical(host))
    return ip is not None and ip.is_loopback


def network_of(host: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 address."""
    ip = _ip(canonical(host))
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return host if ip is None else str(ip)


def is_here(ips: Collection[str]) -> bool:
    """Whether one of the addresses is this machine's, and so can be bound to."""
    return any(_can_bind(socket.AF_INET6 if ":" in ip else socket.AF_INET, (ip, 0)) for ip in ips)


def _entries(allow_hosts: str) -> list[str]:
    return [entry.strip() for entry in allow_hosts.split(",") if entry.strip()]


def _ip(host: str) -> IP | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _old(host: str) -> IP | None:
    """Old spellings that the resolver still accepts: one number for several parts, octal, hexadecimal."""
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


class NoPort(OSError):
    """No port is free."""


def reachable(host: str) -> str:
    """The address under which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def place(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    """Address family and socket address to listen on, preferably IPv4. Raises OSError or ValueError."""
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(infos, key=lambda info: info[0] != socket.AF_INET)
    return family, address


def free_port(host: str, base_port: int, *, taken: Collection[int] = ()) -> int:
    """The lowest free port from `base_port` that is not `taken`. Raises NoPort."""
    family, (ip, _, *scope) = place(host, base_port)
    for port in range(base_port, 65_536):
        if port not in taken and _can_bind(family, (ip, port, *scope)):
            return port
    raise NoPort(f"no free port on {host} from {base_port} up")


def _can_bind(family: int, address: tuple[Any, ...]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True
