"""Whether an engine that has work makes progress. Reads no clock."""

from collections.abc import Sized
from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """Jobs that the engine has not ended, cancelled ones too, and its last progress in monotonic seconds."""

    jobs: Sized
    hang_s: float
    _since_s: float = 0.0
    _allowed_s: float = 0.0

    def stepped(self, now: float, allowed_s: float = 0.0) -> None:
        """Note progress; the next step may take `allowed_s`, if that is more than `hang_s`."""
        self._since_s = now
        self._allowed_s = allowed_s

    def stalled_s(self, now: float) -> float:
        """Seconds since the last progress; 0 without a job."""
        return now - self._since_s if len(self.jobs) > 0 else 0.0

    def hangs(self, now: float) -> bool:
        """Whether there was no progress for longer than a step may take."""
        return self.stalled_s(now) > max(self.hang_s, self._allowed_s)
