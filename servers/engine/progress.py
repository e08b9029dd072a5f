"""Whether an engine that has work makes progress. Reads no clock and asks nobody."""

from dataclasses import dataclass, field

__all__ = ["Progress"]


@dataclass(slots=True)
class Progress:
    """What an engine was given and has not ended, and when it last reported. Times are monotonic seconds.

    A run that nobody waits for any more is work too, until the engine says that it is over.
    """

    hang_s: float
    _runs: set[int] = field(default_factory=set)
    _since_s: float = 0.0
    _allowed_s: float = 0.0

    def given(self, ticket: int, now: float) -> None:
        """A run was handed to the engine."""
        if not self._runs:
            self.stepped(now)
        self._runs.add(ticket)

    def ended(self, ticket: int, now: float) -> None:
        """The engine has answered a run, or has given it up."""
        self._runs.discard(ticket)
        self.stepped(now)

    def stepped(self, now: float, allowed_s: float = 0.0) -> None:
        """A step has ended; the next one may take `allowed_s`, if that is more than `hang_s`."""
        self._since_s = now
        self._allowed_s = allowed_s

    def stalled_s(self, now: float) -> float:
        """Time since the engine's last sign of progress; 0 where it has nothing to do."""
        return now - self._since_s if self._runs else 0.0

    def hangs(self, now: float) -> bool:
        """Whether that is longer than a step may take."""
        return self.stalled_s(now) > max(self.hang_s, self._allowed_s)
