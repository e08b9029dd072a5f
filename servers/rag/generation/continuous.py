"""Generation in which new prompts join between two steps of those that run, and nobody waits for the longest answer.

A step gives each running row its next token; then those that were submitted meanwhile are read in one padded batch of
their own, get their first token from it, and join. How many run at a time is the caller's to
bound; how many tokens they have is bounded by `max_prompt_tokens`.
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
        """Of those who would join."""
        return self._most_read()

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """One token for each row that runs, and the first one of each that joins."""
        events: list[Event] = []
        if self._running is not None:
            before = len(self._running.jobs)
            events, self._running = self._decoder.advance(self._running)
            if self._running is not None and len(self._running.jobs) < before:
                self._running.trimmed()
        if self._waiting and (coming := self._next()):
            first, fresh = self._decoder.advance(self._decoder.rows(coming))
            events += first
            if fresh is not None:
                self._running = fresh if self._running is None else joined(self._running, fresh)
        return events


def build(settings: "Settings", profile: "Profile", *, device: str, dtype: torch.dtype) -> ContinuousGenerator:
    """With its model loaded. Raises ModelError."""
    decoder = load_decoder(settings, profile, device=device, dtype=dtype)
    return ContinuousGenerator(decoder, max_prompt_tokens=settings.max_prompt_tokens)
