"""Connections to replicas that read no more interim answers (1xx) than one needs. Judges no final answer.

aiohttp drops interim answers in a loop that does not end while they come, however many: none of the balancer's other
requests is served then, and no deadline passes.
"""

from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

__all__ = ["ReplicaConnector"]

_MOST_INTERIM = 8
_PIECE_BYTES = 16_384  # parsed at once; the rest of what has come is not parsed where this held too many


class _Bounded(ResponseHandler):
    """aiohttp's protocol; one that gets too many interim answers in a row closes its connection."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._interim = 0

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        for start in range(0, max(1, len(data)), _PIECE_BYTES):
            if self._interim > _MOST_INTERIM:
                return
            super().data_received(data[start : start + _PIECE_BYTES])

    def feed_data(self, data: Any, size: int = 0) -> None:
        """A head has been parsed."""
        if self._interim > _MOST_INTERIM:
            return
        self._interim = self._interim + 1 if 100 <= data[0].code < 200 else 0
        if self._interim <= _MOST_INTERIM:
            super().feed_data(data, size)
            return
        self.set_exception(aiohttp.ClientConnectionError(f"more than {_MOST_INTERIM} interim answers"))
        if self.transport is not None:
            self.transport.abort()


class ReplicaConnector(aiohttp.TCPConnector):
    """aiohttp's connector with that protocol, for which aiohttp has no public place."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self._factory = cast("partial[ResponseHandler]", partial(_Bounded, loop=self._loop))
