"""Embedding: the prefix, and a dummy encoder's shape."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from servers.rag.corpus.facts import facts
from servers.rag.embedding import DummyEncoder, Embedder, SentenceEncoder, StaticEncoder
from servers.rag.models import PROFILES, TINY
from servers.rag.tokens import FileTokenizer

TEXTS = ("first text", "second, a longer text")
SMALL = {
    "model_type": "xlm-roberta",
    "vocab_size": 6000,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
}


class Counting:
    """Encodes a text as its length and remembers it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.seen += texts
        return np.array([[len(text)] for text in texts], dtype=np.float32)


def test_queries_get_the_profile_prefix_and_documents_none() -> None:
    encoder = Counting()
    embedder = Embedder(encoder, PROFILES["opt-125m"])
    embedder.queries(["why?"])
    embedder.documents(["because"])
    assert encoder.seen[0].startswith("Instruct: Given a web search query")
    assert encoder.seen[0].endswith("Query: why?")
    assert encoder.seen[1] == "because"


@pytest.fixture(scope="module")
def dummy() -> DummyEncoder:
    tokenizer = FileTokenizer(TINY / "reader")
    return DummyEncoder(SMALL, tokenizer, device="cpu", dtype=torch.float32, seed=0)


def test_dummy_vectors_are_normalised_and_do_not_depend_on_the_padding(dummy: DummyEncoder) -> None:
    vectors = dummy.encode([*TEXTS, "word " * 200])
    assert vectors.shape == (3, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(dummy.encode(TEXTS[:1]), vectors[:1], atol=1e-5)


@pytest.mark.parametrize("has_a_module_for_it", [True, False])
def test_vectors_are_of_unit_length_whatever_the_model_computes_in(
    *, has_a_module_for_it: bool, tmp_path: Path
) -> None:
    """In bfloat16 a vector divided by its length is of length 1 to three digits alone."""
    folder = shutil.copytree(TINY / "embedder", tmp_path / "embedder")
    if not has_a_module_for_it:
        modules = folder / "modules.json"
        modules.write_text(json.dumps(json.loads(modules.read_text())[:1]))
    half, full = (SentenceEncoder(str(folder), device="cpu", dtype=kind) for kind in (torch.bfloat16, torch.float32))
    texts = [fact.text for fact in facts(200)]
    vectors = half.encode(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=3e-7)
    assert (np.sum(vectors * full.encode(texts), axis=1) > 0.9999).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_shipped_embedder_gives_the_vectors_of_sentence_transformers(dtype: torch.dtype) -> None:
    ours, theirs = (
        kind(source, device="cpu", dtype=dtype)
        for kind, source in ((StaticEncoder, TINY / "embedder"), (SentenceEncoder, str(TINY / "embedder")))
    )
    texts = [*(fact.text for fact in facts(200)), "", "Zoë 東京 🦜", "a" * 5000]
    np.testing.assert_allclose(ours.encode(texts), theirs.encode(texts), atol=1e-6)
    assert ours.made_by == theirs.made_by, "vectors kept on disk serve both"
