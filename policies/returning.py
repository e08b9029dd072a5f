"""How many of those who were just answered ask again at once. Reads no clock.

Users who wait for one answer before they send the next question do; arrivals that know nothing of the server do not.
"""

from dataclasses import dataclass

_WITHIN_S = 0.005  # an answer's way to the user and the next question's way back
_EACH_S = 0.0005  # of those answered: their answers leave one after another
_NEWEST_WEIGHT = 0.2


@dataclass(slots=True)
class Returning:
    """`share` (0 to 1) of a batch's requests that are followed by new ones soon after its end, beyond chance.

    Soon is 5 ms, and half a millisecond more for each that was answered. Chance is the rate of arrivals in the rest of
    the time until the next batch ends. Until it is known, 1.
    """

    share: float = 1.0
    since_last: int = 0
    ended_s: float | None = None
    _answered: int = 0
    _soon: int = 0

    @property
    def _window_s(self) -> float:
        return _WITHIN_S + _EACH_S * self._answered

    def arrived(self, now: float) -> None:
        """A request came."""
        self.since_last += 1
        if self.ended_s is not None and now - self.ended_s <= self._window_s:
            self._soon += 1

    def ended(self, now: float, answered: int) -> None:
        """A batch of so many was answered."""
        if self.ended_s is not None and self._answered:
            rest_s = now - self.ended_s - self._window_s
            chance = (self.since_last - self._soon) / rest_s * self._window_s if rest_s > 0 else 0.0
            newest = min(max((self._soon - chance) / self._answered, 0.0), 1.0)
            self.share += _NEWEST_WEIGHT * (newest - self.share)
        self.ended_s, self._answered, self.since_last, self._soon = now, answered, 0, 0
