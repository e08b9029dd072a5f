"""Prompts to answers: one backend a file, one contract.

Prompts are submitted, and `step` moves all that run by one token: so a caller may stream what it gets, cancel what
nobody waits for, and submit more in between. `generate` is the loop for those who want whole answers.
"""

import importlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from servers.rag.failed import Failed
from servers.rag.steps import UNREPORTED, Steps

if TYPE_CHECKING:
    import torch

    from servers.rag.models import Profile
    from servers.settings import Settings

__all__ = ["BACKENDS", "Generated", "Generator", "Piece", "Window", "build", "generate", "reported_step"]

BACKENDS = {name: f"servers.rag.generation.{name}" for name in ("static", "continuous", "openai")}


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer; tokens are counted without padding and without the end token, where they are known."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step made of one job: its next token, and the whole answer with the last one, or why there is none.

    `token` is its number in the vocabulary, or its text where only another server knows the numbers, and None where the
    step did nothing but end the job.
    """

    job: int
    token: int | str | None
    done: Generated | Failed | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """`positions`: the most tokens of a prompt and its answer together; `lengths`: the tokens of each text."""

    positions: int
    lengths: Callable[[Sequence[str]], Sequence[int]]


class Generator(Protocol):
    """A language model that completes prompts. Called from one thread."""

    @property
    def joins(self) -> bool:
        """Whether what is submitted while others run starts with the next step, or waits until they have ended."""

    @property
    def window(self) -> "Window | None":
        """What a prompt and its answer must fit into; None where another server decides that."""

    @property
    def reading(self) -> int:
        """The most tokens of prompts, padding counted, that the next step reads; 0 where it reads none."""

    def submit(self, prompts: Sequence[str], max_new_tokens: Sequence[int]) -> list[int]:
        """Take prompts in, each with the most tokens its answer may have (>= 1). -> their job numbers."""

    def cancel(self, job: int) -> None:
        """Forget a job; one that has ended or was never there is no mistake."""

    def step(self) -> list[Piece]:
        """Move what runs by one token; nothing where nothing runs. What it raises is no single job's fault."""

    def reset(self) -> None:
        """Forget every job, whatever state a step that raised left them in."""


def generate(
    generator: Generator,
    prompts: Sequence[str],
    max_new_tokens: Sequence[int],
    left: Callable[[], Collection[int]] = tuple,
    steps: Steps = UNREPORTED,
) -> list[Generated | Failed]:
    """One answer a prompt, in order, each of at most its own number of tokens.

    `left` tells between two steps at which places nobody waits any more: their answers are empty.
    """
    try:
        jobs = generator.submit(prompts, max_new_tokens)
        answers: dict[int, Generated | Failed] = {}
        while True:
            for place in left():
                if jobs[place] not in answers:
                    generator.cancel(jobs[place])
                    answers[jobs[place]] = Generated("", 0, 0)
            if len(answers) == len(jobs):
                break
            pieces = reported_step(generator, steps)
            answers |= {piece.job: piece.done for piece in pieces if piece.done is not None and piece.job in jobs}
    except BaseException:
        generator.reset()
        raise
    return [answers[job] for job in jobs]


def reported_step(generator: Generator, steps: Steps) -> list[Piece]:
    """One step. One that reads prompts takes the longer the more they are; others take much the same for any number."""
    reading = generator.reading
    with steps.step("prefill", reading) if reading else steps.step("decode"):
        return generator.step()


def build(settings: "Settings", profile: "Profile", *, device: str, dtype: "torch.dtype") -> Generator:
    """The backend that `settings` name, with its model loaded. Raises ModelError."""
    make = importlib.import_module(BACKENDS[settings.backend]).build
    return cast("Callable[..., Generator]", make)(settings, profile, device=device, dtype=dtype)
