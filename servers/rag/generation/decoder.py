"""A causal model with its tokenizer: prompts to rows, rows to their next tokens. Schedules nothing."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from servers.backend import Chunk, Done, Event
from servers.rag.generation import Generated, Window
from servers.rag.generation.rows import Cache, Job, Rows

_MOST_KEPT = 4096  # texts in the cache of tokens


class Model(Protocol):
    """A causal language model. Called in inference mode."""

    module: Any  # a torch module
    device: torch.device
    positions: int  # the most tokens of a prompt and its answer together

    def cache(self) -> Cache:
        """An empty cache for a new batch."""

    def logits(self, rows: Rows) -> torch.Tensor:
        """Logits of each row's next token, (rows, vocabulary). Adds keys and values to the rows' cache."""


class Tokenizer(Protocol):
    """Texts to ids and back."""

    end: int | None  # ends an answer

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, not padded."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, without special tokens."""


class Decoder:
    """Greedy at temperature 0, else sampled from a generator seeded once. Called in inference mode."""

    def __init__(self, model: Model, tokenizer: Tokenizer, *, temperature: float, seed: int) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self.end = tokenizer.end
        self._temperature = temperature
        self._rng = torch.Generator(device=model.device).manual_seed(seed)
        self._tokenised: dict[str, list[int]] = {}

    @property
    def window(self) -> Window:
        """The model's limit."""
        return Window(self.model.positions, self._lengths)

    def prompts(self, prompts: Sequence[str], limits: Sequence[int]) -> list[list[int]]:
        """Tokens of prompts. One that leaves no room for its answer loses its beginning."""
        known, self._tokenised = self._tokenised, {}
        unknown = [prompt for prompt in prompts if prompt not in known]
        known |= self._tokens(unknown)
        return [known[prompt][limit - self.model.positions :] for prompt, limit in zip(prompts, limits, strict=True)]

    def rows(self, jobs: list[Job]) -> Rows:
        """Prompts padded on the left to one width."""
        tokens = [job.prompt for job in jobs]
        width = max(map(len, tokens))
        device = self.model.device
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in tokens], device=device)
        padded = torch.tensor([[0] * (width - len(ids)) + ids for ids in tokens], device=device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        return Rows(jobs, padded, mask, positions, self.model.cache())

    def advance(self, rows: Rows) -> tuple[list[Event], Rows | None]:
        """One token for each row. -> the events, and the rows that go on."""
        chosen = self._choose(self.model.logits(rows))
        events: list[Event] = []
        going_on = []
        for row, (job, token) in enumerate(zip(rows.jobs, chosen.tolist(), strict=True)):
            if job.is_cancelled:
                continue
            is_end = token == self.end
            if not is_end:
                job.made.append(token)
                events.append(Chunk(job.number, (token,)))
            if is_end or len(job.made) >= job.limit:
                events.append(Done(job.number, self._generated(job)))
            else:
                going_on.append(row)
        return events, rows.after(chosen, going_on)

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """Numbers of tokens. The tokens are cached for the next prompts, which are probably among these texts."""
        tokens = self._tokens(texts)
        if len(self._tokenised) > _MOST_KEPT:
            self._tokenised.clear()
        self._tokenised |= tokens
        return [len(tokens[text]) for text in texts]

    def _tokens(self, texts: Sequence[str]) -> dict[str, list[int]]:
        return dict(zip(texts, self._tokenizer.encode(texts), strict=True)) if texts else {}

    def _choose(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token of each row, (rows,)."""
        if self._temperature == 0:
            return logits.argmax(dim=-1)
        shares = torch.softmax(logits.float() / self._temperature, dim=-1)
        return torch.multinomial(shares, 1, generator=self._rng)[:, 0]

    def _generated(self, job: Job) -> Generated:
        return Generated(self._tokenizer.decode(job.made).strip(), len(job.prompt), len(job.made))
