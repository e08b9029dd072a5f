"""What an engine runs: the contract of a backend, and the events of its jobs. Runs nothing.

The RAG pipeline and its stand-ins for studies are backends; so is every further kind of model. One loop drives each,
`servers/engine/loop.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from servers.backend.steps import UNREPORTED, Steps

__all__ = ["Backend", "Chunk", "Done", "Event", "Failed", "Failure", "Loaded", "run"]

Request = TypeVar("Request")
Result = TypeVar("Result")
Request_contra = TypeVar("Request_contra", contravariant=True)


class Failure(NamedTuple):
    """Why a job has no result.

    `kind`: `invalid`, the model server refused what was asked; `busy`, it wants us to come back `retry_after_s` later;
    `upstream`, it failed; `internal`, our backend raised; `cancelled`, nobody waited for it any more. `text` is for the
    client, unless it is internal.
    """

    kind: Literal["invalid", "busy", "upstream", "internal", "cancelled"]
    text: str
    retry_after_s: int | None = None


class Chunk(NamedTuple):
    """Tokens that a job got: `ids` in the vocabulary, or their `text` where only another server knows the ids."""

    job: int
    ids: tuple[int, ...]
    text: str = ""


class Done(NamedTuple, Generic[Result]):
    """A job's whole result."""

    job: int
    result: Result


class Failed(NamedTuple):
    """A job has no result. The failure is its own: its neighbours have theirs."""

    job: int
    failure: Failure


Event = Chunk | Done[Any] | Failed


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a server must know of a backend to check requests and to describe itself.

    `is_continuous`: requests may be submitted while others run. `info` is part of `GET /info`. `document_chars`: of a
    document, in the mean; `positions`: the most tokens of a prompt and its answer, None where it is not known.
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
        """Take requests in, under numbers that no other job has. Where it raises, none of them is taken in."""

    def cancel(self, job: int) -> None:
        """Forget a job; one that has ended or was never there is no mistake."""

    def step(self, steps: Steps = UNREPORTED) -> list[Event]:
        """Move what runs by one step. What it raises is no single job's fault, and leaves them in no known state."""

    def reset(self) -> None:
        """Forget every job, whatever state a step that raised left them in."""


def run(backend: Backend[Request], requests: Sequence[Request], steps: Steps = UNREPORTED) -> list[Any]:
    """The results of one batch in order, a Failure in the place of each that has none. Nothing else may run."""
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
