"""A connection that may become a framed link: by an Upgrade with the key that the fleet gave this replica."""

import logging

from servers.http.connection.client_limits import LimitedProtocol
from servers.http.connection.framed import Framed
from servers.http.connection.frames import PATH, PROTOCOL, FrameError

log = logging.getLogger(__name__)
_SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % PROTOCOL


class SwitchingProtocol(LimitedProtocol):
    """HTTP, until the head of a request opens a link. Without the key an Upgrade is answered as any request is.

    As a link it is limited as a client that reads nothing is, and in nothing else: the other end is the fleet.
    """

    _framed: Framed | None = None

    def switch(self, rest: bytes) -> bool:
        """Go on as a link if the request that was just read is a fleet's. `rest` came after it."""
        headers = dict(self.headers)
        is_link = self.parser.get_method() == b"GET" and self.url == PATH and headers.get(b"upgrade") == PROTOCOL
        if not is_link or self.owed or not getattr(self.app, "is_fleet", lambda headers: False)(headers):
            return False
        self.no_longer_due()
        self.transport.write(_SWITCHED)
        self._framed = Framed(self.transport, self.app.tasks, self.tasks, max_body_bytes=self.max_body_bytes)
        self._feed_link(rest)
        return True

    def data_received(self, data: bytes) -> None:
        """Read requests, or frames."""
        if self._framed is None:
            super().data_received(data)
        else:
            self._feed_link(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the requests of the link."""
        if self._framed is not None:
            self._framed.lost()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close after the answers that are due."""
        if self._framed is None:
            super().shutdown()
        else:
            self._framed.shut_down()

    def close_if_idle(self) -> bool:
        """A link stays open."""
        return self._framed is None and super().close_if_idle()

    def _feed_link(self, data: bytes) -> None:
        assert self._framed is not None
        try:
            self._framed.feed(data)
        except FrameError as error:
            log.warning("a link is closed: %s", error)
            self.transport.abort()
