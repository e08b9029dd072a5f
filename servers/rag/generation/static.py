"""Generation by one padded batch at a time: what is submitted while it runs makes the next one.

Rows that have ended leave the batch, so the last long answer does not pay for the short ones.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from servers.backend import Event
from servers.rag.generation import Window
from servers.rag.generation.decoder import Decoder, load_decoder
from servers.rag.generation.rows import Job, Rows

if TYPE_CHECKING:
    from servers.rag.models import Profile
    from servers.settings import Settings

log = logging.getLogger(__name__)


class StaticGenerator:
    """One batch at a time."""

    is_continuous = False

    def __init__(self, decoder: Decoder, *, max_prompt_tokens: int | None = None) -> None:
        """`max_prompt_tokens` bounds a batch's prompts with their padding; what is beyond it waits."""
        self._decoder = decoder
        self._max_prompt_tokens = max_prompt_tokens
        self._has_told = False
        self._waiting: list[Job] = []
        self._running: Rows | None = None

    @property
    def module(self) -> Any:
        """The model, a torch module."""
        return self._decoder.model.module

    @property
    def window(self) -> Window:
        """The model's positions."""
        return self._decoder.window

    @property
    def reading(self) -> int:
        """Of the next batch, where none runs."""
        return 0 if self._running is not None else self._most_read()

    def submit(self, jobs: Sequence[int], prompts: Sequence[str], max_new_tokens: Sequence[int]) -> None:
        """Tokenised at once; they run with the next batch."""
        tokens = self._decoder.prompts(prompts, max_new_tokens)
        self._waiting += [Job(*one) for one in zip(jobs, tokens, max_new_tokens, strict=True)]

    def cancel(self, job: int) -> None:
        """Forget a job; one that runs leaves the batch with the next step."""
        self._waiting = [waiting for waiting in self._waiting if waiting.number != job]
        for running in self._running.jobs if self._running else ():
            running.is_cancelled |= running.number == job

    def reset(self) -> None:
        """Forget those that wait and those that run."""
        self._waiting, self._running = [], None

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """One token for each row of the batch that runs, or of one made of all that wait."""
        if self._running is None and self._waiting:
            self._running = self._decoder.rows(self._next())
        if self._running is None:
            return []
        events, self._running = self._decoder.advance(self._running)
        return events

    def _next(self) -> list[Job]:
        """Take of the waiting, in order, those that may be read beside what runs; if nothing does, at least one."""
        rows, width = (0, 0) if self._running is None else tuple(self._running.mask.shape)
        taken, _ = self._fitting(rows, width)
        if taken < len(self._waiting):
            self._tell()
        jobs, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return jobs

    def _most_read(self) -> int:
        """Tokens of those who would be read if nothing ran beside them."""
        taken, width = self._fitting(0, 0)
        return taken * width

    def _fitting(self, rows: int, width: int) -> tuple[int, int]:
        """How many of the waiting may be read beside so many rows of that width, and how wide all are then."""
        for taken, job in enumerate(self._waiting):
            wider = max(width, len(job.prompt))
            is_too_much = self._max_prompt_tokens is not None and (rows + taken + 1) * wider > self._max_prompt_tokens
            if is_too_much and rows + taken:
                return taken, width
            width = wider
        return len(self._waiting), width

    def _tell(self) -> None:
        """Once: it says what to expect of all that follow."""
        if not self._has_told:
            self._has_told = True
            longest = max(len(job.prompt) for job in self._waiting)
            told = "%d prompts of up to %d tokens are read in parts: --max-prompt-tokens is %d"
            log.warning(told, len(self._waiting), longest, self._max_prompt_tokens)


def build(settings: "Settings", profile: "Profile", *, device: str, dtype: torch.dtype) -> StaticGenerator:
    """With its model loaded. Raises ModelError."""
    decoder = load_decoder(settings, profile, device=device, dtype=dtype)
    return StaticGenerator(decoder, max_prompt_tokens=settings.max_prompt_tokens)
