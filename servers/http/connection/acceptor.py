"""Accepts as many connections as there are file descriptors for; the others wait in the kernel's backlog.

A server that runs out of descriptors would reset new connections. Connections from one address beyond a limit are
closed at once. Parses nothing.
"""

import asyncio
import logging
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from servers.addresses import is_loopback, network_of
from servers.tasks import Background, within

log = logging.getLogger(__name__)
_RESERVE = 24  # for replicas' pipes, heartbeats, logs, a /metrics scrape
_MOST_DESCRIPTORS = 65_536
_MOST_PER_ADDRESS = 4096  # by default; loopback addresses have no default limit
_RETRY_S = 0.5  # until the next look for room, unless a connection ends before


def allow_descriptors() -> None:
    """Raise this process' limit on file descriptors as far as it may; its children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def room_for(*, each: int) -> int:
    """How many connections fit if each takes `each` file descriptors; at least one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = _MOST_DESCRIPTORS
    return max(1, (limit - len(os.listdir("/dev/fd")) - _RESERVE) // each)


class Connection(Protocol):
    """One open connection."""

    def close_if_idle(self) -> bool:
        """Close, unless a request is running or has ended a moment ago. -> whether it closes."""


class Acceptor:
    """Accepts from `listener` while fewer than `most` connections are open. uvicorn closes it as it closes a server.

    `most_per_address` is the limit of every address; None: 4096 for each that is not a loopback address. A /64 of IPv6
    counts as one address, since one household has all of it.
    """

    def __init__(self, listener: socket.socket, *, most_per_address: int | None = None) -> None:
        self.most = 1
        self._most_per_address = most_per_address
        self._per_network: Counter[str] = Counter()
        self._logged: set[str] = set()  # networks whose excess has been logged
        self._listener = listener
        self._open = 0
        self._connections: dict[Connection, str | None] = {}  # with their networks
        self._freed = asyncio.Event()
        self._accepting: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether others may be waiting: connections should close after their answer."""
        return self._open >= self.most

    def open(self, protocol: Callable[[], asyncio.Protocol], background: Background, *, most: int) -> None:
        """Start to accept, in a task of `background`."""
        self.most = most
        self._listener.setblocking(False)
        self._accepting = background.keep(self._accept(protocol), name="acceptor")

    def opened(self, connection: Connection, address: str | None = None) -> None:
        """Count a connection from `address`."""
        self._connections[connection] = network = None if address is None else network_of(address)
        if network is not None:
            self._per_network[network] += 1

    def closed(self, connection: Connection | None = None) -> None:
        """Count a connection as ended; without `connection`, one that never opened."""
        self._open -= 1
        network = None if connection is None else self._connections.pop(connection)
        if network is not None:
            self._per_network[network] -= 1
            if self._per_network[network] == 0:
                del self._per_network[network]
                self._logged.discard(network)
        self._freed.set()

    def close(self) -> None:
        """Stop accepting."""
        if self._accepting is not None:
            self._accepting.cancel()

    async def wait_closed(self) -> None:
        """Wait until the accepting task has ended."""
        if self._accepting is not None:
            await asyncio.wait({self._accepting})

    async def _accept(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, name = await loop.sock_accept(self._listener)
            except OSError as error:
                log.warning("cannot accept a connection: %s", error)
                await self._pause()
                continue
            if self._is_too_many(name):
                accepted.close()
                continue
            try:
                await self._until_there_is_room()
                self._open += 1
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.connect_accepted_socket(protocol, accepted)
            except OSError:  # the client has already closed it
                accepted.close()
                self.closed()
            except asyncio.CancelledError:
                accepted.close()
                raise

    def _is_too_many(self, name: Any) -> bool:
        """Whether an address is at its limit; logged once until its last connection has ended."""
        address = str(name[0])
        network = network_of(address)
        if self._per_network[network] < (self._most_per_address or _MOST_PER_ADDRESS):
            return False
        if self._most_per_address is None and is_loopback(address):
            return False
        if network not in self._logged:
            self._logged.add(network)
            log.warning("%s has %d connections: no more are accepted from there", network, self._per_network[network])
        return True

    async def _until_there_is_room(self) -> None:
        while self.is_full:
            any(connection.close_if_idle() for connection in tuple(self._connections))  # the oldest idle one
            await self._pause()

    async def _pause(self) -> None:
        self._freed.clear()
        await within(self._freed.wait(), _RETRY_S)
