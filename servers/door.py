"""Takes in as many connections as there are file descriptors for; the others wait in the kernel's queue for their turn.

Without it a server that runs out of descriptors resets whoever comes then. Parses nothing.
"""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from servers.tasks import Background

__all__ = ["Door", "Guest", "allow_descriptors", "room_for"]

log = logging.getLogger(__name__)
_RESERVE = 24  # for replicas' pipes, heartbeats, logs, a /metrics scrape
_MOST_DESCRIPTORS = 65_536
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
    """Accepts from `listener` while fewer than `most` connections are open. To uvicorn it is a server to be closed."""

    def __init__(self, listener: socket.socket) -> None:
        self.most = 1
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

    def entered(self, guest: Guest) -> None:
        """A connection is there."""
        self._guests[guest] = None

    def left(self, guest: Guest | None = None) -> None:
        """A connection has ended."""
        self._inside -= 1
        if guest is not None:
            self._guests.pop(guest, None)
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
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                log.warning("no connection can be taken in: %s", error)
                await self._pause()
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

    async def _until_there_is_room(self) -> None:
        while self.is_crowded:
            any(guest.leave_if_idle() for guest in tuple(self._guests))  # the oldest that does nothing
            await self._pause()

    async def _pause(self) -> None:
        self._freed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await self._freed.wait()
