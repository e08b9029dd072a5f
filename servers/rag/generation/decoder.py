"""A causal model with its tokenizer: prompts to rows, rows to their next tokens. Decides nothing about who runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache

from servers.backend import Chunk, Done, Event
from servers.rag.generation import Generated, Window
from servers.rag.generation.rows import Job, Rows
from servers.rag.models import TINY, ModelError, loading, shipped

if TYPE_CHECKING:
    from servers.rag.models import Profile
    from servers.settings import Settings

__all__ = ["Decoder", "load_decoder", "load_tokenizer"]

_MOST_KEPT = 4096  # texts whose tokens are kept


class Decoder:
    """Greedy at temperature 0, else sampled from a generator seeded once. Called in inference mode."""

    def __init__(self, model: Any, tokenizer: Any, *, temperature: float, seed: int) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self.positions = int(model.config.max_position_embeddings)
        self.end = tokenizer.eos_token_id
        self._temperature = temperature
        self._rng = torch.Generator(device=model.device).manual_seed(seed)
        self._tokenised: dict[str, list[int]] = {}

    @property
    def window(self) -> Window:
        """What a prompt and its answer must fit into."""
        return Window(self.positions, self._lengths)

    def prompts(self, prompts: Sequence[str], limits: Sequence[int]) -> list[list[int]]:
        """Their tokens. One that leaves no room for its answer loses its beginning."""
        known, self._tokenised = self._tokenised, {}
        unknown = [prompt for prompt in prompts if prompt not in known]
        known |= self._tokens(unknown)
        return [known[prompt][limit - self.positions :] for prompt, limit in zip(prompts, limits, strict=True)]

    def rows(self, jobs: list[Job]) -> Rows:
        """Prompts padded on the left to one width."""
        tokens = [job.prompt for job in jobs]
        width = max(map(len, tokens))
        device = self.model.device
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in tokens], device=device)
        padded = torch.tensor([[0] * (width - len(ids)) + ids for ids in tokens], device=device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        return Rows(jobs, padded, mask, positions, DynamicCache(config=self.model.config))

    def advance(self, rows: Rows) -> tuple[list[Event], Rows | None]:
        """One token for each row. -> the events, and the rows that go on."""
        output = self.model(
            input_ids=rows.ids,
            attention_mask=rows.mask,
            position_ids=rows.positions,
            past_key_values=rows.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        chosen = self._choose(output.logits[:, -1])
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
        """Tokens of each. They are kept until the next prompts, which most likely are among them."""
        tokens = self._tokens(texts)
        if len(self._tokenised) > _MOST_KEPT:
            self._tokenised.clear()
        self._tokenised |= tokens
        return [len(tokens[text]) for text in texts]

    def _tokens(self, texts: Sequence[str]) -> dict[str, list[int]]:
        return dict(zip(texts, self._tokenizer(list(texts), verbose=False)["input_ids"], strict=True)) if texts else {}

    def _choose(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token of each row, (rows,)."""
        if self._temperature == 0:
            return logits.argmax(dim=-1)
        shares = torch.softmax(logits.float() / self._temperature, dim=-1)
        return torch.multinomial(shares, 1, generator=self._rng)[:, 0]

    def _generated(self, job: Job) -> Generated:
        text = self._tokenizer.decode(job.made, skip_special_tokens=True)
        return Generated(text.strip(), len(job.prompt), len(job.made))


def load_decoder(settings: "Settings", profile: "Profile", *, device: str, dtype: torch.dtype) -> Decoder:
    """The profile's generator, or the one that `settings` name, or its shape with random weights. Raises ModelError."""
    source = settings.generator or profile.generator
    if settings.weights == "dummy" and profile.generator_config is not None:
        shape = dict(profile.generator_config)
        with torch.device(device):
            torch.manual_seed(settings.seed)
            model: Any = AutoModelForCausalLM.from_config(
                AutoConfig.for_model(shape.pop("model_type"), **shape), dtype=dtype
            )
    else:
        safetensors = True if shipped(source) else None  # for others the library chooses: OPT has none
        with loading("generator", source):
            model = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, trust_remote_code=False, use_safetensors=safetensors, weights_only=True
            ).to(device)
    positions = int(model.config.max_position_embeddings)
    if settings.max_new_tokens >= positions:
        raise ModelError(
            f"--max-new-tokens must be < {positions}, the positions of {source}; got {settings.max_new_tokens}"
        )
    tokenizer = load_tokenizer(settings, profile)
    return Decoder(model.eval(), tokenizer, temperature=settings.temperature, seed=settings.seed)


def load_tokenizer(settings: "Settings", profile: "Profile") -> Any:
    """The generator's own; for dummy weights the tiny one, whose ids are valid in every profile's vocabulary."""
    source = settings.generator or profile.generator
    if settings.weights == "dummy" and profile.generator_config is not None:
        source = str(TINY / "reader")
    with loading("generator", source):
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)
