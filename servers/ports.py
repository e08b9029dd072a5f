"""Ports of this machine: which are free, and under which address a server of ours is reached."""

import socket
from collections.abc import Collection
from typing import Any

__all__ = ["NoPort", "free_port", "place", "reachable"]


class NoPort(OSError):
    """There is none left."""


def reachable(host: str) -> str:
    """The address under which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def place(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    """Address family and socket address to listen on; of a name that has both, IPv4. Raises OSError or ValueError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, address


def free_port(host: str, base_port: int, *, taken: Collection[int] = ()) -> int:
    """The lowest port from `base_port` up that can be listened on and is not `taken`. Raises NoPort."""
    family, (ip, _, *scope) = place(host, base_port)
    for port in range(base_port, 65_536):
        if port not in taken and _can_listen(family, (ip, port, *scope)):
            return port
    raise NoPort(f"no free port on {host} from {base_port} up")


def _can_listen(family: int, address: tuple[Any, ...]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True
