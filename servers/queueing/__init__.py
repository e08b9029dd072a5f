"""Who waits for the models, and the batcher that forms batches of them. Knows neither HTTP nor models.

A batcher takes its requests from a Line: `LocalLine` is one of this process.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

__all__ = ["Line", "Waiter"]


class Waiter(Protocol):
    """Hashable by identity. `deadline_s` is on a monotonic clock."""

    @property
    def deadline_s(self) -> float:
        """When nobody waits for the answer any more."""

    @property
    def work(self) -> int:
        """How many usual requests it stands for."""


W = TypeVar("W", bound=Waiter)


class Line(Protocol[W]):
    """Requests in order of arrival; any may leave from any place. A step costs the same however many wait."""

    @property
    def work(self) -> int:
        """Of all who wait."""

    def __len__(self) -> int:
        """How many wait."""

    def put(self, waiter: W) -> None:
        """At the end."""

    def leave(self, waiter: W) -> bool:
        """Out of the line, as nobody waits for the answer any more. -> whether it was in it."""

    async def wait(self, timeout_s: float | None) -> bool:
        """Until somebody comes or leaves, or `stir` is called, since the last `wait`. -> False after `timeout_s`."""

    def stir(self) -> None:
        """Have `wait` return: there is something else to look at."""

    def first(self, most: int) -> list[W]:
        """The oldest, who stay."""

    def ends(self) -> tuple[W, W]:
        """The oldest and the newest; somebody must wait."""

    def earliest_deadline_s(self) -> float:
        """Of those who wait; somebody must."""

    def take(self, most: int) -> list[W]:
        """Out of the line, to be answered: the oldest, at most so many."""

    def pick(self, places: Sequence[int]) -> list[W]:
        """Out of the line, to be answered: those at these places, 0 being the oldest."""

    def acknowledge(self, waiters: Sequence[W]) -> None:
        """These were taken, and have been answered or have failed: nobody else need answer them."""

    def clear(self) -> list[W]:
        """Everybody out. -> they, oldest first."""
