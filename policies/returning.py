"""How many of those who were just answered ask again at once. Reads no clock.

Users who wait for one answer before they send the next question do; arrivals that know nothing of the server do not.
"""

from dataclasses import dataclass

__all__ = ["Returning"]

_WITHIN_S = 0.01  # an answer's way to the user and the next question's way back
_NEWEST_WEIGHT = 0.2


@dataclass(slots=True)
class Returning:
    """`share` (0 to 1) of a batch's requests that are followed by new ones within 10 ms of its end, beyond chance.

    Chance is the rate of arrivals in the rest of the time until the next batch ends. Until it is known, 1.
    """

    share: float = 1.0
    since_last: int = 0
    ended_s: float | None = None
    _answered: int = 0
    _soon: int = 0

    def arrived(self, now: float) -> None:
        """A request came."""
        self.since_last += 1
        if self.ended_s is not None and now - self.ended_s <= _WITHIN_S:
            self._soon += 1

    def ended(self, now: float, answered: int) -> None:
        """A batch of so many was answered."""
        if self.ended_s is not None and self._answered:
            rest_s = now - self.ended_s - _WITHIN_S
            chance = (self.since_last - self._soon) / rest_s * _WITHIN_S if rest_s > 0 else 0.0
            newest = min(max((self._soon - chance) / self._answered, 0.0), 1.0)
            self.share += _NEWEST_WEIGHT * (newest - self.share)
        self.ended_s, self._answered, self.since_last, self._soon = now, answered, 0, 0
