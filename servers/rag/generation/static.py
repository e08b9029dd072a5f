"""Static batching: one padded batch at a time; prompts that are submitted meanwhile form the next one.

Rows leave the batch when they end, so that long answers do not pay for short ones.
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
        """`max_prompt_tokens`: most tokens of a batch's prompts, with padding; further prompts wait."""
        self._decoder = decoder
        self._max_prompt_tokens = max_prompt_tokens
        self._has_warned = False
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
        """Tokens of the next batch; 0 while one runs."""
        return 0 if self._running is not None else self._most_read()

    def submit(self, jobs: Sequence[int], prompts: Sequence[str], max_new_tokens: Sequence[int]) -> None:
        """Tokenise prompts for the next batch."""
        tokens = self._decoder.prompts(prompts, max_new_tokens)
        self._waiting += [Job(*job) for job in zip(jobs, tokens, max_new_tokens, strict=True)]

    def cancel(self, job: int) -> None:
        """Forget a job. A running one leaves the batch with the next step."""
        self._waiting = [waiting for waiting in self._waiting if waiting.number != job]
        for running in self._running.jobs if self._running else ():
            running.is_cancelled |= running.number == job

    def reset(self) -> None:
        """Forget waiting and running jobs."""
        self._waiting, self._running = [], None

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """One token for each row of the running batch, or of a new one."""
        if self._running is None and self._waiting:
            self._running = self._decoder.rows(self._next())
        if self._running is None:
            return []
        events, self._running = self._decoder.advance(self._running)
        return events

    def _next(self) -> list[Job]:
        """Take the waiting prompts, in order, that fit beside the running ones; at least one if none runs."""
        rows, width = (0, 0) if self._running is None else tuple(self._running.mask.shape)
        taken, _ = self._fitting(rows, width)
        if taken < len(self._waiting):
            self._warn()
        jobs, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return jobs

    def _most_read(self) -> int:
        """Tokens of the next batch if nothing ran beside it."""
        taken, width = self._fitting(0, 0)
        return taken * width

    def _fitting(self, rows: int, width: int) -> tuple[int, int]:
        """How many waiting prompts fit beside `rows` rows of `width` tokens, and the width of all of them."""
        for taken, job in enumerate(self._waiting):
            wider = max(width, len(job.prompt))
            is_too_much = self._max_prompt_tokens is not None and (rows + taken + 1) * wider > self._max_prompt_tokens
            if is_too_much and rows + taken:
                return taken, width
            width = wider
        return len(self._waiting), width

    def _warn(self) -> None:
        """Log once that prompts do not fit."""
        if not self._has_warned:
            self._has_warned = True
            longest = max(len(job.prompt) for job in self._waiting)
            text = "%d prompts of up to %d tokens are read in parts: --max-prompt-tokens is %d"
            log.warning(text, len(self._waiting), longest, self._max_prompt_tokens)


def build(settings: "Settings", profile: "Profile", *, device: str, dtype: torch.dtype) -> StaticGenerator:
    """The generator with its model. Raises ModelError."""
    decoder = load_decoder(settings, profile, device=device, dtype=dtype)
    return StaticGenerator(decoder, max_prompt_tokens=settings.max_prompt_tokens)
