"""Many replicas of one server, and the balancer before them. Knows no model.

`FleetBackend` is what keeps and asks the replicas; `LocalFleet` does so with processes of this machine.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from policies import scaling
from servers.fleet.reply import Reply
from servers.tasks import Background

__all__ = ["FleetBackend", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A fleet at one moment.

    `replicas` are as `GET /replicas` describes them, `seen` is what a scaling policy knows, from the last `window_s` of
    traffic. `starts`: when replicas got ready, on the fleet's clock, and how long each had taken.
    """

    replicas: Sequence[dict[str, Any]]
    seen: scaling.Fleet
    window_s: float
    starts: Sequence[tuple[float, float]]


class FleetBackend(Protocol):
    """Replicas somewhere. `wanted` is set when a request waits though there is no replica at all."""

    wanted: asyncio.Event

    async def start(self, count: int, background: Background) -> None:
        """Start so many replicas; ready when all of them are. Raises FleetError."""

    def resize(self, count: int) -> bool:
        """Have there be so many. -> whether that was anything to do."""

    def snapshot(self, now: float) -> Snapshot:
        """What there is."""

    async def forward(self, path: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float) -> Reply:
        """Have one of the replicas answer. Raises a RequestError."""

    async def stop(self) -> None:
        """Stop every replica; return when the last one is gone."""
