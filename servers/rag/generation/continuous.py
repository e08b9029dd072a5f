"""Continuous batching: new prompts join between two steps, so that none waits for the longest answer.

A step generates a token for each running row; then new prompts are read in a padded batch of their own, get their first
token, and join. The caller bounds the number of rows, `max_prompt_tokens` the number of tokens.
"""

from typing import TYPE_CHECKING

import torch

from servers.backend import Event
from servers.rag.generation.decoder import load_decoder
from servers.rag.generation.rows import joined
from servers.rag.generation.static import StaticGenerator

if TYPE_CHECKING:
    from servers.rag.models import Profile
    from servers.settings import Settings


class ContinuousGenerator(StaticGenerator):
    """New prompts join between two steps."""

    is_continuous = True

    @property
    def reading(self) -> int:
        """Tokens of the prompts that join next."""
        return self._most_read()

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """One token for each running row, and the first one of each new row."""
        events: list[Event] = []
        if self._running is not None:
            before = len(self._running.jobs)
            events, self._running = self._decoder.advance(self._running)
            if self._running is not None and len(self._running.jobs) < before:
                self._running.trimmed()
        if self._waiting and (joining := self._next()):
            first, fresh = self._decoder.advance(self._decoder.rows(joining))
            events += first
            if fresh is not None:
                self._running = fresh if self._running is None else joined(self._running, fresh)
        return events


def build(settings: "Settings", profile: "Profile", *, device: str, dtype: torch.dtype) -> ContinuousGenerator:
    """The generator with its model. Raises ModelError."""
    decoder = load_decoder(settings, profile, device=device, dtype=dtype)
    return ContinuousGenerator(decoder, max_prompt_tokens=settings.max_prompt_tokens)
