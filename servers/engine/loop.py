"""The loop that runs a backend, on the engine's thread or in its process.

Every submitted job ends with one event: Done, or Failed, which a cancelled job gets too.
"""

import gc
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic

from msgspec import Struct

from servers.backend import Backend, Chunk, Event, Failed, Failure, Request
from servers.backend.steps import Steps
from servers.engine.isolation import failed, one_by_one

_TRIAL = -1  # the job of a request of our own
_CANCELLED = Failure("cancelled", "nobody waits for it any more")


class Submit(Struct, Generic[Request], frozen=True, tag=True, array_like=True):
    """Requests of one batch, as jobs with the numbers from `first` on; with `stream`, their chunks are emitted."""

    first: int
    requests: Sequence[Request]
    stream: bool = False


class Cancel(Struct, frozen=True, tag=True, array_like=True):
    """The client of a job has gone."""

    job: int


Inbox = SimpleQueue[Submit[Any] | Cancel | None]
Emit = Callable[[list[Event]], None]


def work(backend: Backend[Any], inbox: Inbox, emit: Emit, *, steps: Steps, trial: Any) -> None:
    """Run messages until None comes. `trial` is a request that the backend can answer.

    Raises EngineUnfit if the backend fails whatever the request.
    """
    # A full collection over what torch and transformers loaded stops everything for a quarter of a second.
    gc.collect()
    gc.freeze()
    _Loop(backend, inbox, emit, steps, trial).run()


class _Loop:
    """Jobs in `_batches` wait, in `_running` they are in the backend, in `_retried` they run again one by one."""

    def __init__(self, backend: Backend[Any], inbox: Inbox, emit: Emit, steps: Steps, trial: Any) -> None:
        self._backend = backend
        self._inbox = inbox
        self._emit = emit
        self._steps = steps
        self._trial = trial
        self._is_over = False
        self._batches: deque[dict[int, Any]] = deque()
        self._running: dict[int, Any] = {}
        self._retried: dict[int, Any] = {}
        self._streamed: dict[int, int] = {}  # number of ids that were emitted, of jobs that stream

    def run(self) -> None:
        """Submit and step, until None has come."""
        while True:
            self._receive(wait=not (self._running or self._batches))
            if self._is_over:
                return
            if self._batches and (self._backend.is_continuous or not self._running):
                self._begin(self._next())
            if self._running:
                self._publish(self._step())

    def _receive(self, *, wait: bool) -> None:
        """Handle the messages in the inbox; with `wait`, wait for the first one."""
        while wait or not self._inbox.empty():
            message = self._inbox.get()
            wait = False
            if message is None:
                self._is_over = True
            elif isinstance(message, Cancel):
                self._cancel(message.job)
            else:
                jobs = range(message.first, message.first + len(message.requests))
                self._batches.append(dict(zip(jobs, message.requests, strict=True)))
                if message.stream:
                    self._streamed |= dict.fromkeys(jobs, 0)

    def _cancel(self, job: int) -> None:
        """End a job wherever it is. Ended jobs are ignored."""
        for jobs in (self._running, self._retried, *self._batches):
            if jobs.pop(job, None) is not None:
                if jobs is self._running:
                    self._backend.cancel(job)
                self._publish([Failed(job, _CANCELLED)])
                self._batches = deque(batch for batch in self._batches if batch)

    def _next(self) -> dict[int, Any]:
        """The jobs to submit together: all that wait, or the first batch."""
        batch = self._batches.popleft()
        while self._backend.is_continuous and self._batches:
            batch |= self._batches.popleft()
        return batch

    def _begin(self, batch: dict[int, Any]) -> None:
        """Submit the jobs; if that raises, one by one."""
        try:
            self._backend.submit(list(batch), list(batch.values()), self._steps)
        except Exception as error:
            failed(error, len(batch))
        else:
            self._running |= batch
            return
        # Outside the except clause, whose traceback holds the memory of the failed call.
        outcomes = one_by_one([partial(self._submit, *item) for item in batch.items()], self._try_submit)
        self._publish([Failed(job, failure) for job, failure in zip(batch, outcomes, strict=True) if failure])

    def _submit(self, job: int, request: Any) -> None:
        self._backend.submit([job], [request], self._steps)
        self._running[job] = request

    def _try_submit(self) -> None:
        self._backend.submit([_TRIAL], [self._trial], self._steps)
        self._backend.cancel(_TRIAL)

    def _step(self) -> list[Event]:
        """One step of all running jobs; if it raises, each of them is run alone."""
        try:
            events = self._backend.step(self._steps)
        except Exception as error:
            self._retried, self._running = self._running, {}
            self._backend.reset()
            failed(error, len(self._retried))
        else:
            for event in events:
                if not isinstance(event, Chunk):
                    self._running.pop(event.job, None)
            return events
        jobs = list(self._retried)  # outside the except clause, as in _begin
        outcomes = one_by_one((partial(self._retry, job) for job in jobs), lambda: self._run_alone(_TRIAL, self._trial))
        self._retried = {}
        return [
            Failed(job, outcome) if isinstance(outcome, Failure) else outcome
            for job, outcome in zip(jobs, outcomes, strict=True)
            if outcome is not None
        ]

    def _retry(self, job: int) -> Event | None:
        """The last event of a job that runs alone; None if it was cancelled."""
        self._receive(wait=False)
        return self._run_alone(job, self._retried.pop(job)) if job in self._retried else None

    def _run_alone(self, job: int, request: Any) -> Event | None:
        sent, made = self._streamed.get(job, 0), 0
        try:
            self._submit(job, request)
            while job in self._running and not self._is_over:
                for event in self._backend.step(self._steps):
                    if event.job != job:
                        continue
                    if not isinstance(event, Chunk):
                        del self._running[job]
                        return event
                    made += len(event.ids)
                    if made > sent:  # the client has the earlier ones
                        self._publish([event])
                self._receive(wait=False)
        except BaseException:
            self._running.pop(job, None)
            self._backend.reset()
            raise
        return None

    def _publish(self, events: list[Event]) -> None:
        """Emit these events, chunks only of jobs that stream."""
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
