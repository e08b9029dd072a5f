"""Prompts to answers: one backend a file, one contract."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Generated", "Generator"]


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer; tokens are counted without padding and without the end token."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class Generator(Protocol):
    """A language model that completes a batch of prompts."""

    def fits(self, prompts: Sequence[str], max_new_tokens: int) -> list[bool]:
        """Which prompts leave room for their answer within the model's positions."""

    def generate(self, prompts: Sequence[str], max_new_tokens: Sequence[int]) -> list[Generated]:
        """One answer a prompt, in order, each of at most its own number of tokens."""
