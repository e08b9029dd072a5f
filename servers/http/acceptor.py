"""Takes in as many connections as there are file descriptors for; the others wait in the kernel's queue for their turn.

Without it a server that runs out of descriptors resets whoever comes then. Nobody may take all places from one address:
what comes from there beyond a limit is closed at once. Parses nothing.
"""

import asyncio
import logging
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from servers.addresses import is_loopback, network_of
from servers.tasks import Background

__all__ = ["Door", "Guest", "allow_descriptors", "room_for"]

log = logging.getLogger(__name__)
_RESERVE = 24  # for replicas' pipes, heartbeats, logs, a /metrics scrape
_MOST_DESCRIPTORS = 65_536
_MOST_PER_ADDRESS = 4096  # unless told otherwise, and not for this machine's own
_PATIENCE_S = 0.5  # until the next look, unless a connection ends before


def allow_descriptors() -> None:
    """Raise this process' limit to what it may have; its children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def room_for(*, each: int) -> int:
    """How many connections there can be where each of them takes `each` descriptors; at least one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = _MOST_DESCRIPTORS
    return max(1, (limit - len(os.listdir("/dev/fd")) - _RESERVE) // each)


class Guest(Protocol):
    """One connection, as the door knows it."""

    def leave_if_idle(self) -> bool:
        """Close, unless a request is under way or was a moment ago. -> whether it does."""


class Door:
    """Accepts from `listener` while fewer than `most` connections are open. To uvicorn it is a server to be closed.

    `most_per_address` holds for every address; where it is None, 4096 for each that is not a loopback address. A /64 of
    IPv6 counts as one: whoever has one of its addresses has them all.
    """

    def __init__(self, listener: socket.socket, *, most_per_address: int | None = None) -> None:
        self.most = 1
        self._most_per_address = most_per_address
        self._from: Counter[str] = Counter()
        self._full: set[str] = set()  # addresses whose excess has been logged
        self._listener = listener
        self._inside = 0
        self._guests: dict[Guest, None] = {}
        self._freed = asyncio.Event()
        self._accepting: asyncio.Task[None] | None = None

    @property
    def is_crowded(self) -> bool:
        """Whether others may be waiting outside: who has been answered should leave."""
        return self._inside >= self.most

    def open(self, protocol: Callable[[], asyncio.Protocol], background: Background, *, most: int) -> None:
        """Begin to accept, in a task of `background`."""
        self.most = most
        self._listener.setblocking(False)
        self._accepting = background.keep(self._accept(protocol), name="door")

    def entered(self, guest: Guest, address: str | None = None) -> None:
        """A connection is there, from that address."""
        self._guests[guest] = None
        if address is not None:
            self._from[network_of(address)] += 1

    def left(self, guest: Guest | None = None, address: str | None = None) -> None:
        """A connection has ended."""
        self._inside -= 1
        if guest is not None:
            self._guests.pop(guest, None)
        if address is not None:
            network = network_of(address)
            self._from[network] -= 1
            if self._from[network] == 0:
                del self._from[network]
                self._full.discard(network)
        self._freed.set()

    def close(self) -> None:
        """Accept nobody any more."""
        if self._accepting is not None:
            self._accepting.cancel()

    async def wait_closed(self) -> None:
        """Until nobody is being let in any more."""
        if self._accepting is not None:
            await asyncio.wait({self._accepting})

    async def _accept(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, name = await loop.sock_accept(self._listener)
            except OSError as error:
                log.warning("no connection can be taken in: %s", error)
                await self._pause()
                continue
            if self._is_too_many(name):
                connection.close()
                continue
            try:
                await self._until_there_is_room()
                self._inside += 1
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.connect_accepted_socket(protocol, connection)
            except OSError:  # it has gone already
                connection.close()
                self.left()
            except asyncio.CancelledError:
                connection.close()
                raise

    def _is_too_many(self, name: Any) -> bool:
        """Whether there are enough connections from that address; logged once until the last of them has ended."""
        address = str(name[0])
        network = network_of(address)
        if self._from[network] < (self._most_per_address or _MOST_PER_ADDRESS):
            return False
        if self._most_per_address is None and is_loopback(address):
            return False
        if network not in self._full:
            self._full.add(network)
            log.warning("%s has %d connections: no more are taken in from there", network, self._from[network])
        return True

    async def _until_there_is_room(self) -> None:
        while self.is_crowded:
            any(guest.leave_if_idle() for guest in tuple(self._guests))  # the oldest that does nothing
            await self._pause()

    async def _pause(self) -> None:
        self._freed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await self._freed.wait()
