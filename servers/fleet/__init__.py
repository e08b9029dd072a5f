"""Replicas of one server behind a load balancer. Knows no model. `LocalFleet` implements FleetBackend by processes."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from policies import scaling
from servers.http.exchange import Reply
from servers.tasks import Background


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A fleet at one moment.

    `seen`: the input of a scaling policy, from the last `window_s` of traffic.
    `starts`: when replicas got ready, on the fleet's clock, and how many seconds each took.
    """

    seen: scaling.Fleet
    window_s: float
    starts: Sequence[tuple[float, float]]


class FleetBackend(Protocol):
    """A set of replicas. `wanted` is set when a request waits for a first replica."""

    wanted: asyncio.Event

    async def start(self, count: int, background: Background) -> None:
        """Start `count` replicas and wait until they are ready. Raises FleetError."""

    def resize(self, count: int) -> bool:
        """Start or drain replicas until there are `count`. -> whether that changes anything."""

    def snapshot(self, now: float) -> Snapshot:
        """The fleet now."""

    async def forward(self, path: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float) -> Reply:
        """The answer of one of the replicas. Raises a RequestError."""

    async def stop(self) -> None:
        """Stop every replica; return when the last one is gone."""
