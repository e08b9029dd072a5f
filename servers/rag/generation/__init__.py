"""Prompts to answers: one generator a file, one contract.

Prompts are submitted, and `step` moves all that run by one token: so a caller may stream what it gets, cancel what
nobody waits for, and submit more in between.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from servers.backend import Event
from servers.backend.steps import Steps

if TYPE_CHECKING:
    import torch

    from servers.rag.models import Profile
    from servers.settings import Settings

BACKENDS = {name: f"servers.rag.generation.{name}" for name in ("static", "continuous", "openai")}


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer; tokens are counted without padding and without the end token, where they are known."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True, slots=True)
class Window:
    """`positions`: the most tokens of a prompt and its answer together; `lengths`: the tokens of each text."""

    positions: int
    lengths: Callable[[Sequence[str]], Sequence[int]]


class Generator(Protocol):
    """A language model that completes prompts. Called from one thread."""

    @property
    def is_continuous(self) -> bool:
        """Whether what is submitted while others run starts with the next step, or waits until they have ended."""

    @property
    def window(self) -> "Window | None":
        """What a prompt and its answer must fit into; None where another server decides that."""

    @property
    def reading(self) -> int:
        """The most tokens of prompts, padding counted, that the next step reads; 0 where it reads none."""

    def submit(self, jobs: Sequence[int], prompts: Sequence[str], max_new_tokens: Sequence[int]) -> None:
        """Take prompts in under these numbers, each with the most tokens its answer may have (>= 1)."""

    def cancel(self, job: int) -> None:
        """Forget a job; one that has ended or was never there is no mistake."""

    def step(self) -> list[Event]:
        """Move what runs by one token; nothing where nothing runs. What it raises is no single job's fault.

        The result of a Done is Generated.
        """

    def reset(self) -> None:
        """Forget every job, whatever state a step that raised left them in."""


def reported_step(generator: Generator, steps: Steps) -> list[Event]:
    """One step. One that reads prompts takes the longer the more they are; others take much the same for any number."""
    reading = generator.reading
    with steps.step("prefill", reading) if reading else steps.step("decode"):
        return generator.step()


def build(settings: "Settings", profile: "Profile", *, device: str, dtype: "torch.dtype") -> Generator:
    """The backend that `settings` name, with its model loaded. Raises ModelError."""
    make = importlib.import_module(BACKENDS[settings.backend]).build
    return cast("Callable[..., Generator]", make)(settings, profile, device=device, dtype=dtype)
