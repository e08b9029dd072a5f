"""Prompts to answers: one backend a file, one contract.

Prompts are submitted, and `step` moves all that run by one token: so a caller may stream what it gets, cancel what
nobody waits for, and submit more in between. `generate` is the loop for those who want whole answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Generated", "Generator", "Piece", "generate"]


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer; tokens are counted without padding and without the end token."""

    text: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step made of one job: its next token, and the whole answer with the last one.

    `token` is None where the step only ended it.
    """

    job: int
    token: int | None
    done: Generated | None = None


class Generator(Protocol):
    """A language model that completes prompts. Called from one thread."""

    def fits(self, prompts: Sequence[str], max_new_tokens: int) -> list[bool]:
        """Which prompts leave room for their answer within the model's positions."""

    def submit(self, prompts: Sequence[str], max_new_tokens: Sequence[int]) -> list[int]:
        """Take prompts in, each with the most tokens its answer may have (>= 1). -> their job numbers."""

    def cancel(self, job: int) -> None:
        """Forget a job; one that has ended or was never there is no mistake."""

    def step(self) -> list[Piece]:
        """Move what runs by one token; nothing where nothing runs."""


def generate(generator: Generator, prompts: Sequence[str], max_new_tokens: Sequence[int]) -> list[Generated]:
    """One answer a prompt, in order, each of at most its own number of tokens."""
    jobs = generator.submit(prompts, max_new_tokens)
    answers: dict[int, Generated] = {}
    while len(answers) < len(jobs):
        answers |= {piece.job: piece.done for piece in generator.step() if piece.done is not None}
    return [answers[job] for job in jobs]
