"""A Llama in torch, small enough to read: the model of the shipped reader. Loads no other library than safetensors.

Source: Touvron and others, LLaMA, arXiv:2302.13971; rotary positions as in Su and others, RoFormer, arXiv:2104.09864,
in the order of halves that published weights have. Tests compare it with transformers' own, token for token.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.nn import functional

from servers.rag.generation.rows import Rows
from servers.rag.models import loading


@dataclass(slots=True)
class _Kept:
    """Cached keys and values of a layer, (rows, heads, length, head_dim) each."""

    keys: torch.Tensor | None = None
    values: torch.Tensor | None = None

    def extended(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Append to the cache, and return all of it."""
        if self.keys is not None and self.values is not None:
            keys, values = torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values


@dataclass(slots=True)
class Cache:
    """Keys and values of every layer."""

    layers: list[Any] = field(default_factory=list)  # of _Kept


class _Layer(torch.nn.Module):
    """Attention and a gated feed-forward network, both with a residual connection."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, inner, epsilon = config["hidden_size"], config["intermediate_size"], config["rms_norm_eps"]
        self.heads, self.kept_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.head = config["head_dim"]
        self.attention_norm = torch.nn.RMSNorm(width, epsilon)
        self.qkv = torch.nn.Linear(width, (self.heads + 2 * self.kept_heads) * self.head, bias=False)
        self.output = torch.nn.Linear(self.heads * self.head, width, bias=False)
        self.feed_norm = torch.nn.RMSNorm(width, epsilon)
        self.gate_up = torch.nn.Linear(width, 2 * inner, bias=False)
        self.down = torch.nn.Linear(inner, width, bias=False)

    def forward(
        self, hidden: torch.Tensor, turn: torch.Tensor, allowed: torch.Tensor, kept: _Kept, asking: int
    ) -> torch.Tensor:
        """Reads `hidden` (rows, width, hidden_size). -> the same of its last `asking` columns."""
        rows, width, _ = hidden.shape
        heads = self.qkv(self.attention_norm(hidden)).view(rows, width, -1, self.head)
        turned, values = heads.split([self.heads + self.kept_heads, self.kept_heads], dim=2)
        queries, keys = _turned(turned, turn).transpose(1, 2).split([self.heads, self.kept_heads], dim=1)
        keys, values = kept.extended(keys, values.transpose(1, 2))
        seen = functional.scaled_dot_product_attention(
            queries[:, :, -asking:],
            keys,
            values,
            attn_mask=allowed[:, :, -asking:],
            enable_gqa=self.heads != self.kept_heads,
        )
        hidden = hidden[:, -asking:] + self.output(seen.transpose(1, 2).reshape(rows, asking, -1))
        gate, up = self.gate_up(self.feed_norm(hidden)).chunk(2, dim=-1)
        return hidden + self.down(functional.silu(gate) * up)


class Llama(torch.nn.Module):
    """`config` is a transformers configuration of `model_type` llama without biases and with plain rotary positions.

    The embeddings are the head as well.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = torch.nn.ModuleList(_Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = torch.nn.RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        self.turns: torch.Tensor  # of every position, (2, positions, 1, head_dim)
        self.register_buffer("turns", _turns(config), persistent=False)

    def forward(self, rows: Rows) -> torch.Tensor:
        """Logits (rows, vocabulary) of each row's next token. Adds keys and values to the cache."""
        hidden = self.embedding(rows.ids)
        width = rows.ids.shape[1]
        turn = self.turns[:, rows.positions]
        allowed = _allowed(rows.mask, width).to(hidden.dtype)
        for layer, kept in zip(self.layers, rows.cache.layers, strict=True):
            is_last = layer is self.layers[-1]
            hidden = layer(hidden, turn, allowed, kept, 1 if is_last else width)
        return functional.linear(self.norm(hidden[:, -1]), self.embedding.weight)


class LlamaModel:
    """A Llama that is loaded."""

    def __init__(self, module: Llama) -> None:
        self.module = module
        self.device = module.turns.device
        self.positions = module.turns.shape[1]

    def cache(self) -> Cache:
        """One for a new batch."""
        return Cache([_Kept() for _ in self.module.layers])

    def logits(self, rows: Rows) -> torch.Tensor:
        """One pass."""
        return self.module(rows)


def _turns(config: dict[str, Any]) -> torch.Tensor:
    """Cosines and sines by which a head's pairs turn at each position, (2, positions, 1, head_dim)."""
    head = config["head_dim"]
    speeds = 1.0 / config["rope_parameters"]["rope_theta"] ** (torch.arange(0, head, 2).float() / head)
    angles = torch.outer(torch.arange(config["max_position_embeddings"]).float(), speeds).repeat(1, 2)
    return torch.stack([angles.cos(), angles.sin()])[:, :, None]


def _turned(heads: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    cosines, sines = turn
    first, second = heads.chunk(2, dim=-1)
    return heads * cosines + torch.cat([-second, first], dim=-1) * sines


def _allowed(mask: torch.Tensor, width: int) -> torch.Tensor:
    """The attention mask of the last `width` columns, to be added to scores, (rows, 1, width, length).

    Padding attends to itself: a softmax over nothing would be NaN, which would stay in the cache.
    """
    length = mask.shape[1]
    columns = torch.arange(length, device=mask.device)
    asking = columns[length - width :, None]
    allowed = (mask[:, None].bool() & (columns <= asking)) | (columns == asking)
    return torch.zeros(allowed.shape, device=mask.device).masked_fill(~allowed, float("-inf"))[:, None]


def load(folder: Path, *, device: str, dtype: torch.dtype) -> LlamaModel:
    """A folder as transformers saves it, with tied embeddings."""
    with loading("generator", str(folder)):
        module = Llama(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        module.load_state_dict(_renamed(load_file(folder / "model.safetensors"), len(module.layers)))
    return LlamaModel(module.to(device, dtype).eval().requires_grad_(requires_grad=False))


def _renamed(saved: dict[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """Our names for published weights; matrices with the same input become one."""
    weights = {"embedding.weight": saved["model.embed_tokens.weight"], "norm.weight": saved["model.norm.weight"]}
    parts = {
        "attention_norm": ["input_layernorm"],
        "qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        "output": ["self_attn.o_proj"],
        "feed_norm": ["post_attention_layernorm"],
        "gate_up": ["mlp.gate_proj", "mlp.up_proj"],
        "down": ["mlp.down_proj"],
    }
    for layer in range(layers):
        for name, sources in parts.items():
            found = [saved[f"model.layers.{layer}.{source}.weight"] for source in sources]
            weights[f"layers.{layer}.{name}.weight"] = torch.cat(found)
    return weights
