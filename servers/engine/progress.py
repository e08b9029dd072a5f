"""Whether an engine that has work makes progress. Reads no clock."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """The jobs that an engine has not ended, and the time of its last report, in monotonic seconds.

    A cancelled job counts until the engine reports its end.
    """

    hang_s: float
    _jobs: set[int] = field(default_factory=set)
    _since_s: float = 0.0
    _allowed_s: float = 0.0

    def started(self, job: int, now: float) -> None:
        """Note that a job was submitted."""
        if not self._jobs:
            self.stepped(now)
        self._jobs.add(job)

    def ended(self, job: int, now: float) -> None:
        """Note that a job has ended."""
        self._jobs.discard(job)
        self.stepped(now)

    def stepped(self, now: float, allowed_s: float = 0.0) -> None:
        """Note progress; the next step may take `allowed_s`, if that is more than `hang_s`."""
        self._since_s = now
        self._allowed_s = allowed_s

    def stalled_s(self, now: float) -> float:
        """Seconds since the last progress; 0 without a job."""
        return now - self._since_s if self._jobs else 0.0

    def hangs(self, now: float) -> bool:
        """Whether there was no progress for longer than a step may take."""
        return self.stalled_s(now) > max(self.hang_s, self._allowed_s)
