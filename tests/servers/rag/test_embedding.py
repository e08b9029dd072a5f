"""Embedding: the prefix, the cache on disk, and a dummy encoder's shape."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from servers.rag.corpus import Corpus
from servers.rag.embedding import DummyEncoder, Embedder, cached_vectors
from servers.rag.models import PROFILES, TINY

CORPUS = Corpus("test", ("a", "b"), ("first text", "second, a longer text"))
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
    """Encodes a text as its length; counts the calls and remembers the texts."""

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


def test_vectors_are_computed_once_for_a_corpus_and_an_encoder(tmp_path: Path) -> None:
    encoder = Counting()
    embedder = Embedder(encoder, PROFILES["tiny"])
    first = cached_vectors(CORPUS, embedder, key="one", folder=tmp_path)
    again = cached_vectors(CORPUS, embedder, key="one", folder=tmp_path)
    np.testing.assert_array_equal(first, again)
    assert len(encoder.seen) == 2
    cached_vectors(CORPUS, embedder, key="two", folder=tmp_path)
    cached_vectors(Corpus("test", ("a",), ("first text",)), embedder, key="one", folder=tmp_path)
    assert len(encoder.seen) == 5
    assert sorted({path.suffix for path in tmp_path.iterdir()}) == [".json", ".npy"]


def test_a_damaged_file_is_computed_again(tmp_path: Path) -> None:
    embedder = Embedder(Counting(), PROFILES["tiny"])
    good = cached_vectors(CORPUS, embedder, key="one", folder=tmp_path)
    [path] = tmp_path.glob("*.npy")
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    np.testing.assert_array_equal(cached_vectors(CORPUS, embedder, key="one", folder=tmp_path), good)
    np.testing.assert_array_equal(np.load(path), good)


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    vectors = cached_vectors(CORPUS, Embedder(Counting(), PROFILES["tiny"]), key="one", folder=blocked / "cache")
    assert vectors.shape == (2, 1)


@pytest.fixture(scope="module")
def dummy() -> DummyEncoder:
    tokenizer = AutoTokenizer.from_pretrained(TINY / "reader")
    return DummyEncoder(SMALL, tokenizer, device="cpu", dtype=torch.float32, seed=0)


def test_dummy_vectors_are_normalised_and_do_not_depend_on_the_padding(dummy: DummyEncoder) -> None:
    vectors = dummy.encode([*CORPUS.texts, "word " * 200])
    assert vectors.shape == (3, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(dummy.encode(CORPUS.texts[:1]), vectors[:1], atol=1e-5)
