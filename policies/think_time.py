"""How long answered users stay away before they ask again. Reads no clock and decides no wait.

Requests name no users, so arrivals are counted by their time since the last batch ended. Users who come back come soon
after it; open-loop arrivals come as often later. The rate in the later part of the time between two ends is therefore
subtracted as chance.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field

_ROUNDS = 16
_MOST_ARRIVALS = 512
_SOON = 0.5  # of a round; a wait that is longer than the run after it never pays
_STEPS = 8


@dataclass(frozen=True, slots=True)
class Round:
    """The time between the ends of two batches: arrivals as seconds after the first, which answered `answered`."""

    answered: int
    length_s: float
    arrivals_s: list[float]

    @property
    def soon_s(self) -> float:
        """How much of it counts as soon."""
        return _SOON * self.length_s


@dataclass(frozen=True, slots=True)
class Back:
    """The expected `share` of answered users who are back `after_s` the end of their batch."""

    after_s: float
    share: float


@dataclass(slots=True)
class ThinkTimes:
    """The newest 16 rounds, of each at most 512 arrivals."""

    _ended_s: float | None = None
    _answered: int = 0
    _arrivals_s: list[float] = field(default_factory=list)
    _rounds: deque[Round] = field(default_factory=lambda: deque(maxlen=_ROUNDS))
    _curve: tuple[Back, ...] | None = None

    def arrived(self, now: float) -> None:
        """Note an arrival."""
        if self._ended_s is not None and len(self._arrivals_s) < _MOST_ARRIVALS:
            self._arrivals_s.append(now - self._ended_s)

    def ended(self, now: float, answered: int) -> None:
        """Note the end of a batch of `answered` requests."""
        if self._ended_s is not None and self._answered and now > self._ended_s:
            self._rounds.append(Round(self._answered, now - self._ended_s, self._arrivals_s))
        self._ended_s, self._answered, self._arrivals_s, self._curve = now, answered, [], None

    def curve(self) -> tuple[Back, ...]:
        """Eight moments, in order, and the share that is back by each; empty before the second batch."""
        if self._curve is None:
            self._curve = self._measured()
        return self._curve

    def _measured(self) -> tuple[Back, ...]:
        soon_s = sorted(time_s for each in self._rounds for time_s in each.arrivals_s if time_s <= each.soon_s)
        if not soon_s:
            return ()
        answered = sum(each.answered for each in self._rounds)
        later = sum(len(each.arrivals_s) for each in self._rounds) - len(soon_s)
        chance_rps = later / sum(each.length_s - each.soon_s for each in self._rounds)

        def back(after_s: float) -> Back:
            by_chance = chance_rps * sum(min(after_s, each.soon_s) for each in self._rounds)
            share = (bisect_right(soon_s, after_s) - by_chance) / answered
            return Back(after_s, min(max(share, 0.0), 1.0))

        return tuple(back(soon_s[-(-len(soon_s) * step // _STEPS) - 1]) for step in range(1, _STEPS + 1))
