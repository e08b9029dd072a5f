"""Connections to replicas with a limit on interim answers (1xx).

aiohttp discards interim answers in a loop that blocks the event loop for as long as they come.
"""

from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

_MOST_INTERIM = 8
_PIECE_BYTES = 16_384  # parsed at once, so that parsing stops soon after the limit


class _Bounded(ResponseHandler):
    """aiohttp's protocol, which closes its connection after too many interim answers in a row."""

    _interim = 0

    def data_received(self, data: bytes) -> None:
        for start in range(0, max(1, len(data)), _PIECE_BYTES):
            if self._interim > _MOST_INTERIM:
                return
            super().data_received(data[start : start + _PIECE_BYTES])

    def feed_data(self, data: Any, size: int = 0) -> None:
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
    """aiohttp's connector with that protocol, for which aiohttp has no public setting."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = cast("partial[ResponseHandler]", partial(_Bounded, loop=self._loop))
