"""The contract of what an engine runs, a backend, and the events of its jobs.

The RAG pipeline and the fakes for studies are backends. `servers/engine/loop.py` drives them all.
"""

from collections.abc import Sequence
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from servers.backend.steps import UNREPORTED, Steps

Request = TypeVar("Request")
Result = TypeVar("Result")
Request_contra = TypeVar("Request_contra", contravariant=True)


class Failure(NamedTuple):
    """Why a job has no result.

    `kind`: `invalid`, the model server refused the request; `busy`, it asks for a retry after `retry_after_s`;
    `upstream`, it failed; `internal`, our backend raised; `cancelled`, its client had gone. `text` is for the client,
    unless it is internal.
    """

    kind: Literal["invalid", "busy", "upstream", "internal", "cancelled"]
    text: str
    retry_after_s: int | None = None


class Chunk(Struct, frozen=True, tag=True, array_like=True):
    """New tokens of a job: `ids` in the vocabulary, or their `text` where only another server knows the ids."""

    job: int
    ids: tuple[int, ...]
    text: str = ""


class Done(Struct, Generic[Result], frozen=True, tag=True, array_like=True):
    """A job's whole result."""

    job: int
    result: Result


class Failed(Struct, frozen=True, tag=True, array_like=True):
    """A job has no result. The failure concerns no other job."""

    job: int
    failure: Failure


Event = Chunk | Done[Any] | Failed


class Loaded(Struct, frozen=True, tag=True, array_like=True):
    """What a server must know of a backend to check requests and to describe itself.

    `is_continuous`: requests may be submitted while others run. `info` is part of `GET /info`. `document_chars`: mean
    length of a document; `positions`: most tokens of a prompt and its answer, None if not known.
    """

    corpus_size: int
    model_name: str
    is_continuous: bool
    info: dict[str, Any]
    document_chars: int = 0
    positions: int | None = None


class Backend(Protocol[Request_contra]):
    """A model, or several, that answers requests in steps. Called from one thread."""

    @property
    def is_continuous(self) -> bool:
        """Whether requests may be submitted while others run, or only as one batch when all have ended."""

    def loaded(self) -> Loaded:
        """What is loaded."""

    def submit(self, jobs: Sequence[int], requests: Sequence[Request_contra], steps: Steps = UNREPORTED) -> None:
        """Accept requests as jobs with these unused numbers. If it raises, it has accepted none."""

    def cancel(self, job: int) -> None:
        """Forget a job. Unknown and ended jobs are ignored."""

    def step(self, steps: Steps = UNREPORTED) -> list[Event]:
        """Run one step of all jobs. An exception is the fault of no single job; `reset` must follow it."""

    def reset(self) -> None:
        """Forget all jobs, in whatever state they are."""


def run(backend: Backend[Request], requests: Sequence[Request], steps: Steps = UNREPORTED) -> list[Any]:
    """The results of one batch in order, a Failure for each that has none. No other job may run."""
    outcomes: dict[int, Any] = {}
    try:
        backend.submit(range(len(requests)), requests, steps)
        while len(outcomes) < len(requests):
            for event in backend.step(steps):
                if isinstance(event, Done):
                    outcomes[event.job] = event.result
                elif isinstance(event, Failed):
                    outcomes[event.job] = event.failure
    except BaseException:
        backend.reset()
        raise
    return [outcomes[job] for job in range(len(requests))]
