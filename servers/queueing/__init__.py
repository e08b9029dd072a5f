"""The queue of requests, and the batcher that makes batches of them. Knows neither HTTP nor models."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Waiter(Protocol):
    """Hashable by identity. `deadline_s` is on a monotonic clock."""

    @property
    def deadline_s(self) -> float:
        """When the request expires."""

    @property
    def work(self) -> int:
        """Size in usual requests."""


W = TypeVar("W", bound=Waiter)


class Line(Protocol[W]):
    """A queue in order of arrival, which requests may also leave from the middle. Operations take constant time."""

    @property
    def work(self) -> int:
        """Size of all waiting requests in usual ones."""

    def __len__(self) -> int: ...

    def put(self, waiter: W) -> None:
        """Append a request. Wakes nobody."""

    def leave(self, waiter: W) -> bool:
        """Remove an expired request, and wake whoever waits. -> whether it was in the line."""

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for the first `leave` or `stir` since the last `wait`. -> False after `timeout_s`."""

    def stir(self) -> None:
        """Make `wait` return."""

    def first(self, most: int) -> list[W]:
        """The oldest `most` requests, which stay in the line."""

    def ends(self) -> tuple[W, W]:
        """The oldest and the newest request of a line that is not empty."""

    def earliest_deadline_s(self) -> float:
        """The earliest deadline in a line that is not empty."""

    def take(self, places: Sequence[int]) -> list[W]:
        """Remove the requests at these places, 0 being the oldest, to be answered."""

    def acknowledge(self, waiters: Sequence[W]) -> None:
        """Confirm that taken requests have been answered or have failed."""
