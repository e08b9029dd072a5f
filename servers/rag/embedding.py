"""Encodes texts as unit vectors."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn.utils.rnn import pad_sequence

from servers.rag import fingerprint
from servers.rag.models import Profile, loading, shipped
from servers.rag.tokens import FileTokenizer

BATCH = 64
_DOCUMENT_PREFIX = ""  # the cards of the profiles' embedders want none


class Encoder(Protocol):
    """Texts (n) -> normalised vectors (n, d) f32.

    `made_by`: all that determines its vectors; encoders with equal values give equal vectors.
    """

    module: torch.nn.Module
    made_by: Mapping[str, object]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode a batch."""


class SentenceEncoder:
    """A sentence-transformers folder or hub id."""

    def __init__(self, source: str, *, device: str, dtype: torch.dtype) -> None:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415  (3 s)
        from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

        disable_progress_bar()

        with loading("embedder", source):
            model = SentenceTransformer(source, device=device, trust_remote_code=False, model_kwargs={"dtype": dtype})
            self.module = _without_normalising(model).to(dtype).eval()
        self.made_by: Mapping[str, object] = _made_by(source, self.module, dtype)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode a batch with the pooling of the model's own files."""
        vectors = self.module.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=False, show_progress_bar=False, convert_to_tensor=True
        )
        return torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy()


def _made_by(source: str, module: Any, dtype: torch.dtype) -> Mapping[str, object]:
    return {
        "model": "a folder" if Path(source).is_dir() else source,
        "weights": fingerprint.of_model(source, module),
        "dtype": str(dtype),
        "normalised": "in float32",  # the pooling is among the model's files
    }


def _without_normalising(model: Any) -> Any:
    """A sentence-transformers model without its final normalisation, which would be in its dtype."""
    from sentence_transformers.sentence_transformer.modules import Normalize  # noqa: PLC0415

    while len(model) > 1 and isinstance(model[-1], Normalize):
        del model[-1]
    return model


class StaticEncoder:
    """The shipped embedder: a text's vector is the mean of its tokens' vectors."""

    def __init__(self, folder: Path, *, device: str, dtype: torch.dtype) -> None:
        with loading("embedder", str(folder)):
            weights = load_file(folder / "model.safetensors")["embedding.weight"]
            bag = torch.nn.EmbeddingBag.from_pretrained(weights, mode="mean")
            self.module: torch.nn.Module = bag.to(device, dtype).eval()
            self._tokenizer = FileTokenizer(folder)
        self._device = device
        self.made_by: Mapping[str, object] = _made_by(str(folder), self.module, dtype)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode a batch. A text without tokens is zeros."""
        tokens = self._tokenizer.encode(texts)
        starts = torch.tensor([0, *itertools.accumulate(map(len, tokens))][:-1], device=self._device)
        ids = torch.tensor([token for text in tokens for token in text], dtype=torch.long, device=self._device)
        return torch.nn.functional.normalize(self.module(ids, starts).float(), dim=1).cpu().numpy()


class DummyEncoder:
    """A transformer encoder of the given shape with random weights and mean pooling, to measure speed."""

    def __init__(
        self, config: dict[str, Any], tokenizer: FileTokenizer, *, device: str, dtype: torch.dtype, seed: int
    ) -> None:
        from transformers import AutoConfig, AutoModel  # noqa: PLC0415

        shape = dict(config)
        with torch.device(device):
            torch.manual_seed(seed)
            self.module = AutoModel.from_config(AutoConfig.for_model(shape.pop("model_type"), **shape), dtype=dtype)
        self.module.eval()
        self._tokenizer = tokenizer
        self._max_tokens = config["max_position_embeddings"] - 2
        self._device = device
        vocabulary = hashlib.sha256(json.dumps(sorted(self._tokenizer.vocabulary().items())).encode()).hexdigest()[:32]
        self.made_by: Mapping[str, object] = {
            "model": config,
            "weights": f"random, seed {seed}, on {torch.device(device).type} by torch {torch.__version__}",
            "tokenizer": vocabulary,
            "dtype": str(dtype),
            "pooling": "mean",
            "normalised": True,
        }

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode a batch. Texts longer than the model's positions are cut."""
        parts = [self._batch(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        return np.concatenate(parts)

    def _batch(self, texts: Sequence[str]) -> np.ndarray:
        tokens = [torch.tensor(ids[: self._max_tokens]) for ids in self._tokenizer.encode(texts)]
        ids = pad_sequence(tokens, batch_first=True).to(self._device)  # padding on the left would shift positions
        mask = pad_sequence([torch.ones_like(one) for one in tokens], batch_first=True).to(self._device)
        hidden = self.module(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return torch.nn.functional.normalize(mean, dim=1).cpu().numpy()


def load_encoder(source: str, *, device: str, dtype: torch.dtype) -> Encoder:
    """A folder or hub id. Raises ModelError."""
    return (
        StaticEncoder(Path(source), device=device, dtype=dtype)
        if shipped(source)
        else SentenceEncoder(source, device=device, dtype=dtype)
    )


class Embedder:
    """An encoder with the prefix of its model card: for queries the profile's, for documents none."""

    def __init__(self, encoder: Encoder, profile: Profile) -> None:
        self._encoder = encoder
        self._prefix = profile.query_prefix

    @property
    def module(self) -> torch.nn.Module:
        """The encoder's model."""
        return self._encoder.module

    @property
    def key(self) -> str:
        """Cache key of document vectors."""
        return json.dumps({**self._encoder.made_by, "document_prefix": _DOCUMENT_PREFIX}, sort_keys=True)

    def queries(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (n, d) f32 of questions."""
        return self._encoder.encode([self._prefix + text for text in texts])

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (n, d) f32 of documents."""
        return self._encoder.encode([_DOCUMENT_PREFIX + text for text in texts])
