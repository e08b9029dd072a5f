"""The loop that runs a backend, on the engine's thread or in its process. Knows neither.

Every job that was submitted ends with one event: Done, Failed, or Failed as `cancelled` once nobody waits for it.
"""

import gc
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple

from servers.backend import Backend, Chunk, Event, Failed, Failure
from servers.backend.steps import Steps
from servers.engine.isolation import failed, one_by_one

__all__ = ["Cancel", "Inbox", "Submit", "work"]

_TRIAL = -1  # the job of a request of our own
_CANCELLED = Failure("cancelled", "nobody waits for it any more")


class Submit(NamedTuple):
    """Requests to be run as one batch, under the numbers from `first` on; with `stream`, their chunks are wanted."""

    first: int
    requests: Sequence[Any]
    stream: bool = False


class Cancel(NamedTuple):
    """Nobody waits for that job any more."""

    job: int


Inbox = SimpleQueue[Submit | Cancel | None]
Emit = Callable[[Sequence[Event]], None]


def work(backend: Backend[Any], inbox: Inbox, emit: Emit, *, steps: Steps, trial: Any) -> None:
    """Run what comes until None does. `trial` is a request that the backend can answer.

    Raises EngineUnfit where it fails whatever it is asked.
    """
    # A full collection over what torch and transformers loaded stops everything for a quarter of a second.
    gc.collect()
    gc.freeze()
    _Loop(backend, inbox, emit, steps, trial).run()


class _Loop:
    """`_batches` wait to be taken in, `_running` are in the backend, and `_asked` are asked again one by one."""

    def __init__(self, backend: Backend[Any], inbox: Inbox, emit: Emit, steps: Steps, trial: Any) -> None:
        self._backend = backend
        self._inbox = inbox
        self._emit = emit
        self._steps = steps
        self._trial = trial
        self._is_over = False
        self._batches: deque[dict[int, Any]] = deque()
        self._running: dict[int, Any] = {}
        self._asked: dict[int, Any] = {}
        self._streamed: dict[int, int] = {}
        """Ids that were sent, of those whose chunks are wanted."""

    def run(self) -> None:
        """Take in and step, until the loop is over."""
        while True:
            self._hear(wait=not (self._running or self._batches))
            if self._is_over:
                return
            if self._batches and (self._backend.is_continuous or not self._running):
                self._begin(self._next())
            if self._running:
                self._tell(self._step())

    def _hear(self, *, wait: bool) -> None:
        """Read what has come; with `wait`, as soon as something comes."""
        while wait or not self._inbox.empty():
            message = self._inbox.get()
            wait = False
            if message is None:
                self._is_over = True
            elif isinstance(message, Cancel):
                self._leave(message.job)
            else:
                jobs = range(message.first, message.first + len(message.requests))
                self._batches.append(dict(zip(jobs, message.requests, strict=True)))
                if message.stream:
                    self._streamed |= dict.fromkeys(jobs, 0)

    def _leave(self, job: int) -> None:
        """End a job wherever it is; one that is over is no mistake."""
        for jobs in (self._running, self._asked, *self._batches):
            if jobs.pop(job, None) is not None:
                if jobs is self._running:
                    self._backend.cancel(job)
                self._tell([Failed(job, _CANCELLED)])
                self._batches = deque(batch for batch in self._batches if batch)

    def _next(self) -> dict[int, Any]:
        """What is taken in together: all that wait, or the first batch of them."""
        coming = self._batches.popleft()
        while self._backend.is_continuous and self._batches:
            coming |= self._batches.popleft()
        return coming

    def _begin(self, coming: dict[int, Any]) -> None:
        """Take them in; where that raises, each by itself."""
        try:
            self._backend.submit(list(coming), list(coming.values()), self._steps)
        except Exception as error:
            failed(error, len(coming))
        else:
            self._running |= coming
            return
        # Not while the error is handled: its traceback keeps what the failed call had in memory.
        outcomes = one_by_one([partial(self._take_in, *one) for one in coming.items()], self._try_to_take_in)
        self._tell([Failed(job, each) for job, each in zip(coming, outcomes, strict=True) if each is not None])

    def _take_in(self, job: int, request: Any) -> None:
        self._backend.submit([job], [request], self._steps)
        self._running[job] = request

    def _try_to_take_in(self) -> None:
        self._backend.submit([_TRIAL], [self._trial], self._steps)
        self._backend.cancel(_TRIAL)

    def _step(self) -> list[Event]:
        """One step of all that run; where that raises, the whole of each by itself."""
        try:
            return self._ended(self._backend.step(self._steps))
        except Exception as error:
            self._asked, self._running = self._running, {}
            self._backend.reset()
            failed(error, len(self._asked))
        jobs = list(self._asked)  # likewise
        outcomes = one_by_one((partial(self._run_alone, job) for job in jobs), self._try_alone)
        self._asked = {}
        return [
            Failed(job, each) if isinstance(each, Failure) else each
            for job, each in zip(jobs, outcomes, strict=True)
            if each is not None
        ]

    def _ended(self, events: list[Event]) -> list[Event]:
        for event in events:
            if not isinstance(event, Chunk):
                self._running.pop(event.job, None)
        return events

    def _run_alone(self, job: int) -> Event | None:
        """How the job ends that runs by itself; None where nobody waits for it any more."""
        self._hear(wait=False)
        if job not in self._asked:
            return None
        request = self._asked.pop(job)
        return self._alone(job, request)

    def _try_alone(self) -> Event | None:
        return self._alone(_TRIAL, self._trial)

    def _alone(self, job: int, request: Any) -> Event | None:
        sent, made = self._streamed.get(job, 0), 0
        try:
            self._take_in(job, request)
            while job in self._running and not self._is_over:
                for event in self._backend.step(self._steps):
                    if event.job != job:
                        continue
                    if not isinstance(event, Chunk):
                        del self._running[job]
                        return event
                    made += len(event.ids)
                    if made > sent:  # a client has seen the others
                        self._tell([event])
                self._hear(wait=False)
        except BaseException:
            self._running.pop(job, None)
            self._backend.reset()
            raise
        return None

    def _tell(self, events: list[Event]) -> None:
        """Emit what is wanted of these."""
        wanted: list[Event] = []
        for event in events:
            if not isinstance(event, Chunk):
                self._streamed.pop(event.job, None)
                wanted.append(event)
            elif event.job in self._streamed:
                self._streamed[event.job] += len(event.ids)
                wanted.append(event)
        if wanted:
            self._emit(wanted)
