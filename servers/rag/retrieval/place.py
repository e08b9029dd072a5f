"""Where an index lives and works: a device and a number of threads. Builds nothing."""

import os
from dataclasses import dataclass

__all__ = ["Place", "RetrieverMissing"]


class RetrieverMissing(RuntimeError):
    """A backend's library or device is not there; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """`device`: cpu or cuda. `threads`: None is one for each core that this process may use."""

    device: str = "cpu"
    threads: int | None = None

    @property
    def workers(self) -> int:
        """How many threads to start."""
        if self.threads is not None:
            return self.threads
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def on_cpu_alone(self, backend: str) -> None:
        """Raise RetrieverMissing where a GPU is asked for."""
        if self.device != "cpu":
            raise RetrieverMissing(f"retriever {backend} runs on the CPU alone, not on {self.device}")
