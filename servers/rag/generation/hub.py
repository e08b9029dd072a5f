"""Any causal language model that transformers loads: a folder, a hub id, or a shape with random weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils.logging import disable_progress_bar

from servers.rag.generation.rows import Rows
from servers.rag.models import loading


class HubModel:
    """One of transformers' models."""

    def __init__(self, module: Any) -> None:
        self.module = module.eval()
        self.device: torch.device = module.device
        self.positions = int(module.config.max_position_embeddings)

    def cache(self) -> DynamicCache:
        """An empty cache."""
        return DynamicCache(config=self.module.config)

    def logits(self, rows: Rows) -> torch.Tensor:
        """One pass."""
        output = self.module(
            input_ids=rows.ids,
            attention_mask=rows.mask,
            position_ids=rows.positions,
            past_key_values=rows.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]


class HubTokenizer:
    """One of transformers' tokenizers."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.end: int | None = tokenizer.eos_token_id

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, with the model's special tokens."""
        return self._tokenizer(list(texts), verbose=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, without special tokens."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)


def load(source: str, *, device: str, dtype: torch.dtype) -> HubModel:
    """A folder or hub id. Raises ModelError. Weights may be a pickle of tensors, as OPT's are."""
    disable_progress_bar()
    with loading("generator", source):
        module = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, trust_remote_code=False, weights_only=True)
        return HubModel(module.to(device))


def random(shape: Mapping[str, Any], *, device: str, dtype: torch.dtype, seed: int) -> HubModel:
    """A model of that configuration with random weights."""
    config = dict(shape)
    with torch.device(device):
        torch.manual_seed(seed)
        return HubModel(
            AutoModelForCausalLM.from_config(AutoConfig.for_model(config.pop("model_type"), **config), dtype=dtype)
        )


def load_tokenizer(source: str) -> HubTokenizer:
    """Of a folder or hub id. Raises ModelError."""
    with loading("generator", source):
        return HubTokenizer(AutoTokenizer.from_pretrained(source, trust_remote_code=False))
