"""What a server says of itself in answers about tasks and readiness."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from servers.errors import Unavailable
from servers.http.exchange import Headers
from servers.http.headers import LOAD

if TYPE_CHECKING:
    from servers.http.task import Task

log = logging.getLogger(__name__)
_LOAD = LOAD.lower().encode()


@dataclass(slots=True)
class State:
    """State of a server, set by `serve.py` and by its design.

    `load` is the value of X-Load; `hangs` says whether the engine makes no progress. A proxy, which `passes_on`
    requests, leaves those headers to its replicas. `tasks`, by path, answer the requests of tasks.
    """

    ready: bool = False
    draining: bool = False
    replica: str = ""
    load: Callable[[], str] | None = None
    hangs: Callable[[], bool] | None = None
    passes_on: bool = False
    access_log: bool = False
    tasks: dict[str, "Task"] = field(default_factory=dict)
    _said_s: float = -1.0
    _said: Headers = ()

    def require_ready(self) -> None:
        """Raise Unavailable unless requests may be served."""
        if not self.ready:
            raise Unavailable("the server is still loading", retry_after_s=1)
        if self.draining:
            raise Unavailable("the server is draining", retry_after_s=1)

    def headers(self) -> Headers:
        """Headers of every answer about tasks and readiness, refusals included.

        uvloop's time stands still during a turn, so that the answers of a turn share them.
        """
        if self.passes_on:
            return ()
        now = asyncio.get_running_loop().time()
        if now != self._said_s:
            self._said_s, self._said = now, self._headers()
        return self._said

    def _headers(self) -> Headers:
        replica = (b"x-replica", self.replica.encode())
        if self.load is None:
            return (replica,)
        try:
            return replica, (_LOAD, self.load().encode())
        except Exception:
            log.exception("the load is not known; the answer is sent without X-Load")
            return (replica,)
