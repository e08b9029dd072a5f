"""Generation by one padded batch at a time: what is submitted while it runs makes the next one.

Rows that have ended leave the batch, so the last long answer does not pay for the short ones.
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from servers.rag.generation import Piece
from servers.rag.generation.decoder import Decoder, load_decoder
from servers.rag.generation.rows import Job, Rows

if TYPE_CHECKING:
    from servers.rag.models import Profile
    from servers.settings import Settings

__all__ = ["StaticGenerator", "build"]


class StaticGenerator:
    """See Generator."""

    joins = False

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._numbers = itertools.count()
        self._waiting: list[Job] = []
        self._running: Rows | None = None

    @property
    def module(self) -> Any:
        """The model, a torch module."""
        return self._decoder.model

    def fits(self, prompts: Sequence[str], max_new_tokens: int) -> list[bool]:
        """See Generator."""
        return self._decoder.fits(prompts, max_new_tokens)

    def submit(self, prompts: Sequence[str], max_new_tokens: Sequence[int]) -> list[int]:
        """See Generator."""
        jobs = [Job(next(self._numbers), prompt, limit) for prompt, limit in zip(prompts, max_new_tokens, strict=True)]
        self._waiting += jobs
        return [job.number for job in jobs]

    def cancel(self, job: int) -> None:
        """Forget a job; one that runs leaves the batch with the next step."""
        self._waiting = [waiting for waiting in self._waiting if waiting.number != job]
        for running in self._running.jobs if self._running else ():
            running.is_cancelled |= running.number == job

    def reset(self) -> None:
        """Forget those that wait and those that run."""
        self._waiting, self._running = [], None

    @torch.inference_mode()
    def step(self) -> list[Piece]:
        """One token for each row of the batch that runs, or of one made of all that wait."""
        if self._running is None and self._waiting:
            self._running, self._waiting = self._decoder.rows(self._waiting), []
        if self._running is None:
            return []
        pieces, self._running = self._decoder.advance(self._running)
        return pieces


def build(settings: "Settings", profile: "Profile", *, device: str, dtype: torch.dtype) -> StaticGenerator:
    """With its model loaded. Raises ModelError."""
    return StaticGenerator(load_decoder(settings, profile, device=device, dtype=dtype))
