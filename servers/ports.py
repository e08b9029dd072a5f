"""Ports of this machine: which are free, and under which address a server of ours is reached."""

import socket
from collections.abc import Collection

__all__ = ["NoPort", "free_port", "reachable"]


class NoPort(OSError):
    """There is none left."""


def reachable(host: str) -> str:
    """The address under which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104


def free_port(host: str, base_port: int, *, taken: Collection[int] = ()) -> int:
    """The lowest port from `base_port` up that can be listened on and is not `taken`. Raises NoPort."""
    for port in range(base_port, 65_536):
        if port not in taken and _can_listen(host, port):
            return port
    raise NoPort(f"no free port on {host} from {base_port} up")


def _can_listen(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
