"""Generators, which complete prompts: one contract, and one generator a file.

Each `step` generates one token for all running prompts; in between, a caller may submit and cancel.
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

BACKENDS = {
    "static": "servers.rag.generation.local",
    "continuous": "servers.rag.generation.local",
    "openai": "servers.rag.generation.openai",
}
"""Modules by name of `--backend`, each with `build`."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer. Tokens are counted without padding and end token; None if not known."""

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
        """Whether new prompts join with the next step, or wait until the running ones have ended."""

    @property
    def window(self) -> "Window | None":
        """The limit of a prompt with its answer; None if another server decides that."""

    @property
    def reading(self) -> int:
        """Most tokens of prompts, with padding, that the next step reads."""

    def submit(self, jobs: Sequence[int], prompts: Sequence[str], max_new_tokens: Sequence[int]) -> None:
        """Accept prompts as jobs, each with the most tokens of its answer (>= 1)."""

    def cancel(self, job: int) -> None:
        """Forget a job. Unknown and ended jobs are ignored."""

    def step(self) -> list[Event]:
        """One token for each running job. The result of a Done is Generated. An exception is no single job's fault."""

    def reset(self) -> None:
        """Forget all jobs, in whatever state they are."""


def reported_step(generator: Generator, steps: Steps) -> list[Event]:
    """Run and report one step. The time of a prefill grows with its tokens, that of a decode hardly."""
    reading = generator.reading
    with steps.step("prefill", reading) if reading else steps.step("decode"):
        return generator.step()


def build(settings: "Settings", profile: "Profile", *, device: str, dtype: "torch.dtype") -> Generator:
    """The generator that `settings` name, loaded. Raises ModelError."""
    make = importlib.import_module(BACKENDS[settings.backend]).build
    return cast("Callable[..., Generator]", make)(settings, profile, device=device, dtype=dtype)
