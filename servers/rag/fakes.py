"""Backends for studies without a model: one that only sleeps, and one that slows another one down."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from servers.backend import Backend, Done, Event, Loaded
from servers.backend.steps import UNREPORTED, Steps
from servers.rag.pipeline import Answered, Ask, Hit

_CRASHED = 139  # a shell's status for a segmentation fault
_HITS = (Hit("0", "a document", 1.0),)


@dataclass(frozen=True, slots=True)
class Stub:
    """Sleeps `batch_s` + n `item_s` for a batch of n. Each question is its own answer.

    Fault injection: a batch with the text `poison` in a question fails, or `ends` its process as a crash in a library
    does; every batch fails after `fails_after_s`.
    """

    batch_s: float = 0.0002
    item_s: float = 0.00002
    poison: str | None = None
    ends: bool = False
    fails_after_s: float = float("inf")
    is_continuous: bool = False
    _made_s: float = field(default_factory=time.monotonic)
    _batch: dict[int, Ask] = field(default_factory=dict)

    def loaded(self) -> Loaded:
        """Facts that look like a pipeline's."""
        corpus = {"name": "none", "size": 10_000, "checksum": "0" * 16}
        info = {"corpus": corpus, "profile": "stub", "batch_s": self.batch_s, "item_s": self.item_s, "device": "cpu"}
        return Loaded(10_000, "stub", self.is_continuous, info, document_chars=10)

    def submit(self, jobs: Sequence[int], requests: Sequence[Ask], steps: Steps = UNREPORTED) -> None:
        """Add to the next batch."""
        del steps
        self._batch.update(zip(jobs, requests, strict=True))

    def cancel(self, job: int) -> None:
        """Remove from the batch."""
        self._batch.pop(job, None)

    def step(self, steps: Steps = UNREPORTED) -> list[Event]:
        """Run the whole batch."""
        if not self._batch:
            return []
        length_s = self.batch_s + self.item_s * len(self._batch)
        steps.sleep(length_s)
        if time.monotonic() - self._made_s > self.fails_after_s:
            raise RuntimeError("a fault to order: every run fails")
        if self.poison is not None and any(self.poison in ask.query for ask in self._batch.values()):
            if self.ends:
                os._exit(_CRASHED)
            raise RuntimeError("a fault to order: one of the questions is poisoned")
        events: list[Event] = [
            Done(job, Answered(ask.query, ask.query, _HITS, 1, 1, {"generate": length_s}))
            for job, ask in self._batch.items()
        ]
        self._batch.clear()
        return events

    def reset(self) -> None:
        """Forget the batch."""
        self._batch.clear()


class Slowed:
    """Another backend whose steps take `times` as long; the added time is slept."""

    def __init__(self, backend: Backend[Any], times: float) -> None:
        self._backend = backend
        self._times = times
        self.is_continuous = backend.is_continuous
        self.loaded = backend.loaded
        self.cancel = backend.cancel
        self.reset = backend.reset

    def submit(self, jobs: Sequence[int], requests: Sequence[Any], steps: Steps = UNREPORTED) -> None:
        """Submit, and sleep."""
        started_s = time.perf_counter()
        self._backend.submit(jobs, requests, steps)
        self._sleep(started_s, steps)

    def step(self, steps: Steps = UNREPORTED) -> list[Event]:
        """Step, and sleep. The times of the stages stay as they were."""
        started_s = time.perf_counter()
        events = self._backend.step(steps)
        self._sleep(started_s, steps)
        return events

    def _sleep(self, started_s: float, steps: Steps) -> None:
        steps.sleep((self._times - 1) * (time.perf_counter() - started_s))
