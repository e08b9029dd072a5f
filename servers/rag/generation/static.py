"""Generation by one padded batch: transformers' `generate`, which runs until the last row has ended."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from servers.rag.generation import Generated

__all__ = ["StaticGenerator"]


class StaticGenerator:
    """A causal model and its tokenizer. Greedy at temperature 0, else sampled from a generator seeded once."""

    def __init__(self, model: Any, tokenizer: Any, *, temperature: float, seed: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._positions = int(model.config.max_position_embeddings)
        self._end = tokenizer.eos_token_id
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._end
        sampling = (
            {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {"do_sample": False}
        )
        self._config = GenerationConfig(eos_token_id=self._end, pad_token_id=self._pad, **sampling)
        tokenizer.padding_side = tokenizer.truncation_side = "left"
        torch.manual_seed(seed)

    def fits(self, prompts: Sequence[str], max_new_tokens: int) -> list[bool]:
        """Which prompts leave room for their answer within the model's positions."""
        room = self._positions - max_new_tokens
        return [len(ids) <= room for ids in self._tokenizer(list(prompts))["input_ids"]]

    @torch.inference_mode()
    def generate(self, prompts: Sequence[str], max_new_tokens: Sequence[int]) -> list[Generated]:
        """One answer a prompt, in order. A prompt that is still too long loses its beginning."""
        longest = max(max_new_tokens)
        inputs = self._tokenizer(
            list(prompts),
            padding=True,
            truncation=True,
            max_length=self._positions - longest,
            return_tensors="pt",
            return_token_type_ids=False,
        ).to(self._model.device)
        width = inputs["input_ids"].shape[1]
        self._config.max_new_tokens = longest
        output = self._model.generate(**inputs, generation_config=self._config)
        answers = output[:, width:].tolist()
        lengths = inputs["attention_mask"].sum(1).tolist()
        return [
            self._generated(ids[:limit], prompt_tokens=length)
            for ids, limit, length in zip(answers, max_new_tokens, lengths, strict=True)
        ]

    def _generated(self, ids: list[int], *, prompt_tokens: int) -> Generated:
        ids = ids[: ids.index(self._end)] if self._end in ids else ids
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        return Generated(text.strip(), prompt_tokens, len(ids))
