"""Estimates the share of answered users who ask again at once. Reads no clock.

Closed-loop users do, who wait for one answer before the next question; open-loop arrivals do not.
"""

from dataclasses import dataclass

_WITHIN_S = 0.005  # round trip of an answer and the next question
_EACH_S = 0.0005  # for each answer, since they are sent one after another
_NEWEST_WEIGHT = 0.2


@dataclass(slots=True)
class Returning:
    """`share` (0 to 1) of a batch's requests that are followed by new ones soon after its end, beyond chance.

    Soon is 5 ms plus 0.5 ms for each answer. Chance is the rate of arrivals between then and the end of the next batch.
    The share is 1 until it is measured.
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
        """Note an arrival."""
        self.since_last += 1
        if self.ended_s is not None and now - self.ended_s <= self._window_s:
            self._soon += 1

    def ended(self, now: float, answered: int) -> None:
        """Note the end of a batch of `answered` requests."""
        if self.ended_s is not None and self._answered:
            rest_s = now - self.ended_s - self._window_s
            chance = (self.since_last - self._soon) / rest_s * self._window_s if rest_s > 0 else 0.0
            newest = min(max((self._soon - chance) / self._answered, 0.0), 1.0)
            self.share += _NEWEST_WEIGHT * (newest - self.share)
        self.ended_s, self._answered, self.since_last, self._soon = now, answered, 0, 0
