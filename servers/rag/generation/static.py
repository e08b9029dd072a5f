"""Generation by one padded batch at a time: what is submitted while it runs makes the next one.

Rows that have ended leave the batch, so the last long answer does not pay for the short ones.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from servers.rag.generation import Generated, Piece

__all__ = ["StaticGenerator"]


@dataclass(slots=True)
class _Job:
    number: int
    prompt: str
    limit: int
    prompt_tokens: int = 0
    made: list[int] = field(default_factory=list)
    is_cancelled: bool = False


@dataclass(slots=True)
class _Batch:
    """The rows that run: `ids` (rows, width) go in next, `mask` (rows, length) is what they may look at."""

    jobs: list[_Job]
    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    cache: Any


class StaticGenerator:
    """A causal model and its tokenizer. Greedy at temperature 0, else sampled from a generator seeded once."""

    def __init__(self, model: Any, tokenizer: Any, *, temperature: float, seed: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._positions = int(model.config.max_position_embeddings)
        self._end = tokenizer.eos_token_id
        self._temperature = temperature
        self._rng = torch.Generator(device=model.device).manual_seed(seed)
        self._numbers = itertools.count()
        self._waiting: list[_Job] = []
        self._running: _Batch | None = None
        self._tokenised: dict[str, list[int]] = {}

    def fits(self, prompts: Sequence[str], max_new_tokens: int) -> list[bool]:
        """Which prompts leave room for their answer within the model's positions."""
        room = self._positions - max_new_tokens
        self._tokenised = dict(zip(prompts, self._tokens(prompts), strict=True))  # they are about to be submitted
        return [len(self._tokenised[prompt]) <= room for prompt in prompts]

    def submit(self, prompts: Sequence[str], max_new_tokens: Sequence[int]) -> list[int]:
        """Take prompts in for the next batch. -> their job numbers."""
        jobs = [_Job(next(self._numbers), prompt, limit) for prompt, limit in zip(prompts, max_new_tokens, strict=True)]
        self._waiting += jobs
        return [job.number for job in jobs]

    def cancel(self, job: int) -> None:
        """Forget a job; one that runs leaves the batch with the next step."""
        self._waiting = [waiting for waiting in self._waiting if waiting.number != job]
        for running in self._running.jobs if self._running else ():
            running.is_cancelled |= running.number == job

    @torch.inference_mode()
    def step(self) -> list[Piece]:
        """One token for each row of the batch that runs, or of one made of all that wait."""
        if self._running is None and self._waiting:
            self._running, self._waiting = self._batch(self._waiting), []
        if self._running is None:
            return []
        batch = self._running
        output = self._model(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            past_key_values=batch.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        chosen = self._choose(output.logits[:, -1])
        pieces, going_on = [], []
        for row, (job, token) in enumerate(zip(batch.jobs, chosen.tolist(), strict=True)):
            if job.is_cancelled:
                continue
            is_end = token == self._end
            if not is_end:
                job.made.append(token)
            is_over = is_end or len(job.made) >= job.limit
            pieces.append(Piece(job.number, None if is_end else token, self._generated(job) if is_over else None))
            if not is_over:
                going_on.append(row)
        self._running = self._left(batch, chosen, going_on)
        return pieces

    def _batch(self, jobs: list[_Job]) -> _Batch:
        """Prompts padded on the left to one width. A prompt that is still too long loses its beginning."""
        room = self._positions - max(job.limit for job in jobs)
        tokens = [ids[-room:] for ids in self._tokens([job.prompt for job in jobs])]
        width = max(map(len, tokens))
        for job, ids in zip(jobs, tokens, strict=True):
            job.prompt_tokens = len(ids)
        device = self._model.device
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in tokens], device=device)
        padded = torch.tensor([[0] * (width - len(ids)) + ids for ids in tokens], device=device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        return _Batch(jobs, padded, mask, positions, DynamicCache(config=self._model.config))

    def _tokens(self, prompts: Sequence[str]) -> list[list[int]]:
        """Each prompt's, those from the last `fits` as they were found there."""
        known = self._tokenised
        unknown = [prompt for prompt in prompts if prompt not in known]
        found = dict(zip(unknown, self._tokenizer(unknown)["input_ids"], strict=True)) if unknown else {}
        return [known[prompt] if prompt in known else found[prompt] for prompt in prompts]

    def _left(self, batch: _Batch, chosen: torch.Tensor, rows: list[int]) -> _Batch | None:
        """The batch of the rows that go on, each with the token chosen for it."""
        if not rows:
            return None
        mask, positions, jobs = batch.mask, batch.positions[:, -1:] + 1, batch.jobs
        if len(rows) < len(jobs):
            kept = torch.tensor(rows, device=chosen.device)
            chosen, mask, positions = chosen[kept], mask[kept], positions[kept]
            jobs = [jobs[row] for row in rows]
            batch.cache.batch_select_indices(kept)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        return _Batch(jobs, chosen[:, None], mask, positions, batch.cache)

    def _choose(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token of each row, (rows,)."""
        if self._temperature == 0:
            return logits.argmax(dim=-1)
        shares = torch.softmax(logits.float() / self._temperature, dim=-1)
        return torch.multinomial(shares, 1, generator=self._rng)[:, 0]

    def _generated(self, job: _Job) -> Generated:
        text = self._tokenizer.decode(job.made, skip_special_tokens=True)
        return Generated(text.strip(), job.prompt_tokens, len(job.made))
