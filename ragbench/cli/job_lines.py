"""How a retrieval study goes: one changing line on a terminal, plain lines elsewhere."""

from collections.abc import Sequence

from ragbench.cli.common import say
from ragbench.cli.status_line import StatusLine
from ragbench.retrieval.jobs import Job
from ragbench.retrieval.rows import Row

__all__ = ["JobLines"]


class JobLines:
    """Told what happens, it tells the user. `jobs`: how many there are."""

    def __init__(self, line: StatusLine, jobs: int) -> None:
        self._line = line
        self._jobs = jobs
        self._job = ""

    def job_begins(self, number: int, job: Job) -> None:
        """Say which."""
        self._job = f"job {number} of {self._jobs}"
        self._line.show(f"{self._job} | {job}")
        if not self._line.is_shown:
            say(f"[{number}/{self._jobs}] {job}")

    def doing(self, text: str) -> None:
        """Say what its process does."""
        self._line.show(f"{self._job} | {text}")
        if not self._line.is_shown:
            say(f"    {text}")

    def job_ends(self, job: Job, rows: Sequence[Row]) -> None:
        """Say what failed, each reason once."""
        failed = [row for row in rows if row.status == "failed"]
        for reason in dict.fromkeys(row.reason for row in failed):
            say(f"{sum(row.reason == reason for row in failed)} of {job} failed: {reason}")
