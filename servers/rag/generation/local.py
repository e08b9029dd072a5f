"""Static and continuous batching by a model in this process.

A step generates one token for each running row. Rows leave when they end, so that long answers do not pay for short
ones. Waiting prompts are read in a padded batch of their own: with static batching when no row is left, with continuous
batching after each step, upon which they join. The caller bounds the number of rows, `max_prompt_tokens` the number of
tokens.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from servers.backend import Event
from servers.rag.generation import Window, llama
from servers.rag.generation.decoder import Decoder, Model, Tokenizer
from servers.rag.generation.rows import Job, Rows, joined
from servers.rag.models import ModelError, shipped
from servers.rag.tokens import FileTokenizer

if TYPE_CHECKING:
    from servers.rag.models import Profile
    from servers.settings import Settings

log = logging.getLogger(__name__)


class LocalGenerator:
    """With `is_continuous`, new prompts join between two steps; else they wait until the running ones have ended."""

    def __init__(self, decoder: Decoder, *, is_continuous: bool, max_prompt_tokens: int | None = None) -> None:
        """`max_prompt_tokens`: most tokens of a batch's prompts, with padding; further prompts wait."""
        self.is_continuous = is_continuous
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
        """Tokens of the prompts that are read next, if nothing ran beside them; 0 if none may join."""
        if self._running is not None and not self.is_continuous:
            return 0
        taken, width = self._fitting(0, 0)
        return taken * width

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
        """One token for each running row, and the first one of each new row."""
        events: list[Event] = []
        may_join = self.is_continuous or self._running is None
        if self._running is not None:
            before = len(self._running.jobs)
            events, self._running = self._decoder.advance(self._running)
            if self._running is not None and len(self._running.jobs) < before:
                self._running.trimmed()
        if may_join and self._waiting and (joining := self._next()):
            first, fresh = self._decoder.advance(self._decoder.rows(joining))
            events += first
            if fresh is not None:
                self._running = fresh if self._running is None else joined(self._running, fresh)
        return events

    def _next(self) -> list[Job]:
        """Take the waiting prompts, in order, that fit beside the running ones; at least one if none runs."""
        rows, width = (0, 0) if self._running is None else tuple(self._running.mask.shape)
        taken, _ = self._fitting(rows, width)
        if taken < len(self._waiting):
            self._warn()
        jobs, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return jobs

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


def build(settings: "Settings", profile: "Profile", *, device: str, dtype: torch.dtype) -> LocalGenerator:
    """The profile's generator, or its shape with random weights. Raises ModelError."""
    model, tokenizer = _loaded(settings, profile, device=device, dtype=dtype)
    if settings.max_new_tokens >= model.positions:
        wanted = f"--max-new-tokens must be < {model.positions}, the positions of {profile.generator}"
        raise ModelError(f"{wanted}; got {settings.max_new_tokens}")
    decoder = Decoder(model, tokenizer, temperature=settings.temperature, seed=settings.seed)
    is_continuous = settings.backend == "continuous"
    return LocalGenerator(decoder, is_continuous=is_continuous, max_prompt_tokens=settings.max_prompt_tokens)


def _loaded(settings: "Settings", profile: "Profile", *, device: str, dtype: torch.dtype) -> tuple[Model, Tokenizer]:
    """Transformers takes seconds to import, so the shipped reader is loaded without it."""
    shape = profile.generator_config if settings.weights == "dummy" else None
    if shape is None and shipped(profile.generator):
        folder = Path(profile.generator)
        return llama.load(folder, device=device, dtype=dtype), FileTokenizer(folder)
    from servers.rag.generation import hub  # noqa: PLC0415

    if shape is not None:
        return hub.random(shape, device=device, dtype=dtype, seed=settings.seed), FileTokenizer.shipped()
    return hub.load(profile.generator, device=device, dtype=dtype), hub.load_tokenizer(profile.generator)
