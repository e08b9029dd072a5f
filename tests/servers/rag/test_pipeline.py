"""The pipeline: order, cutting to each request's own limits, prompts that fit; and building it with dummy weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from servers.backend import Done, Event, run
from servers.batched import BatchedSettings
from servers.rag import models
from servers.rag.build import _dtype, build, check_names
from servers.rag.corpus import Corpus
from servers.rag.embedding import Embedder
from servers.rag.generation import Generated, Window
from servers.rag.models import PROFILES, ModelError, Profile
from servers.rag.pipeline import Ask, NotFinite, Pipeline
from servers.rag.prompts import PROMPTS
from servers.rag.retrieval import BACKENDS
from servers.rag.retrieval import build as build_index
from servers.rag.stepping import PipelineBackend
from servers.settings import Settings


class FirstLetter:
    """Encodes a text by its first letter."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.eye(26, dtype=np.float32)[[ord(text[0].lower()) - ord("a") for text in texts]]


class Counter:
    """Answers with the number of lines of the prompt; takes prompts of at most `most` characters."""

    is_continuous = False
    reading = 0

    def __init__(self, most: int) -> None:
        self.most = most
        self.limits: list[int] = []

    @property
    def window(self) -> Window:
        return Window(self.most + 5, lambda texts: [len(text) for text in texts])

    def submit(self, jobs: Sequence[int], prompts: Sequence[str], max_new_tokens: Sequence[int]) -> None:
        self.limits = list(max_new_tokens)
        self.prompts = dict(zip(jobs, prompts, strict=True))

    def cancel(self, job: int) -> None:
        raise AssertionError("nobody gives up here")

    def reset(self) -> None:
        self.prompts = {}

    def step(self) -> list[Event]:
        return [
            Done(job, Generated(f"{prompt.count(chr(10)) - 1} documents", len(prompt), 2))
            for job, prompt in reversed(self.prompts.items())
        ]


def pipeline(generator: Counter) -> Pipeline:
    texts = tuple(f"{letter} is a letter" for letter in "abcdefgh")
    corpus = Corpus("letters", tuple("ABCDEFGH"), texts)
    embedder = Embedder(FirstLetter(), PROFILES["tiny"])
    index = build_index("numpy", embedder.documents(texts))
    return Pipeline(embedder, index, corpus, PROMPTS["short"], generator, "counter", {})


def answered(whole: Pipeline, asks: Sequence[Ask]) -> list[Any]:
    return run(PipelineBackend(whole), asks)


def test_each_request_gets_its_own_k_and_limit_in_order() -> None:
    generator = Counter(most=10_000)
    answers = answered(pipeline(generator), [Ask("c?", 1, 5), Ask("a?", 3, 2), Ask("h?", 8, 9)])
    assert [answer.query for answer in answers] == ["c?", "a?", "h?"]
    assert [answer.documents[0].id for answer in answers] == ["C", "A", "H"]
    assert [len(answer.documents) for answer in answers] == [1, 3, 8]
    assert [answer.result for answer in answers] == ["1 documents", "3 documents", "8 documents"]
    assert generator.limits == [5, 2, 9]
    assert set(answers[0].stage_s) == {"embed", "retrieve", "generate"}


class Breaking(FirstLetter):
    """Encodes what begins with b as NaN, and with i as infinity, as a model in float16 may."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = super().encode(texts)
        vectors[[text[0] == "b" for text in texts], 3] = np.nan
        vectors[[text[0] == "i" for text in texts], 3] = np.inf
        return vectors


def test_an_embedding_that_is_not_finite_fails_and_names_its_questions() -> None:
    whole = replace(pipeline(Counter(most=10_000)), embedder=Embedder(Breaking(), PROFILES["tiny"]))
    with pytest.raises(NotFinite, match=r"NaN or infinity in the embedding of question 1, 3 of 4") as broken:
        answered(whole, [Ask("a?", 1, 5), Ask("b?", 1, 5), Ask("c?", 1, 5), Ask("i?", 1, 5)])
    assert broken.value.places == (1, 3)
    [answer] = answered(whole, [Ask("c?", 1, 5)])
    assert answer.documents[0].id == "C"


def test_a_prompt_that_does_not_fit_loses_its_last_documents_but_the_answer_lists_them() -> None:
    [answer] = answered(pipeline(Counter(most=90)), [Ask("c?", 8, 5)])
    assert answer.result == "5 documents"
    assert len(answer.documents) == 8


def test_a_question_that_never_fits_is_asked_without_documents() -> None:
    [answer] = answered(pipeline(Counter(most=5)), [Ask("c?", 8, 5)])
    assert answer.result == "0 documents"


def test_the_tiny_profile_answers_the_classic_question(tmp_path: Path) -> None:
    for retriever in BACKENDS:
        whole = build(Settings(corpus_size=200, retriever=retriever, cache_dir=tmp_path))
        asks = [Ask("Which animals can hover in the air?", 2, 8), Ask("Which animals can spin webs?", 50, 8)]
        hover, spin = answered(whole, asks)
        assert (hover.result, len(spin.documents)) == ("hummingbirds", 50)
        assert "spiders" in spin.documents[0].text
        assert hover.completion_tokens >= 1


def test_an_approximate_index_answers_with_the_documents_that_it_found(tmp_path: Path) -> None:
    settings = Settings(corpus_size=200, cache_dir=tmp_path, index="ivf", metric="cosine", nlist=40, nprobe=1)
    whole = build(settings)
    [hover] = answered(whole, [Ask("Which animals can hover in the air?", 50, 8)])
    assert hover.result == "hummingbirds"
    assert 1 <= len(hover.documents) < 50
    assert hover.documents[0].score >= hover.documents[-1].score
    assert (whole.about["index"], whole.about["metric"]) == ("ivf", "cosine")


def test_a_retriever_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="backend numpy has index flat, ivf, not hnsw; faiss has it"):
        build(Settings(corpus_size=200, cache_dir=tmp_path, index="hnsw"))
    with pytest.raises(ModelError, match="backend numpy has index flat, ivf, not ivf_pq; faiss has it"):
        build(Settings(corpus_size=200, cache_dir=tmp_path, index="ivf_pq"))
    for wrong, told in (
        ({"index": "tree"}, "index must be one of flat"),
        ({"metric": "dot"}, "metric must be one of ip"),
    ):
        with pytest.raises(ValueError, match=told):
            check_names(Settings(**wrong))


def test_a_local_checkpoint_is_used_where_one_is_named(tmp_path: Path) -> None:
    folder = models.TINY
    named = Settings(
        corpus_size=100, cache_dir=tmp_path, embedder=str(folder / "embedder"), generator=str(folder / "reader")
    )
    [answer] = answered(build(named), [Ask("Which animals can make honey?", 1, 8)])
    assert answer.result == "bees"
    with pytest.raises(ModelError, match=r"that folder does not hold a model .*--weights dummy"):
        build(Settings(corpus_size=30, cache_dir=tmp_path, generator=str(tmp_path)))


def test_dummy_weights_run_any_profile_to_its_full_length(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The shapes are shrunk for the test; the path is the one that a GPU study takes."""
    small = {"vocab_size": 8000, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    for name in ("opt-125m", "qwen2.5-1.5b"):
        full = PROFILES[name]
        assert full.embedder_config is not None
        assert full.generator_config is not None
        generator = {
            **full.generator_config,
            **small,
            "word_embed_proj_dim": 64,
            "ffn_dim": 64,
            "intermediate_size": 64,
        }
        embedder = {**full.embedder_config, **small, "intermediate_size": 64}
        shrunk = Profile(name, full.embedder, full.generator, full.prompt, full.query_prefix, embedder, generator)
        monkeypatch.setitem(PROFILES, name, shrunk)
        made = build(BatchedSettings(profile=name, weights="dummy", corpus_size=30, cache_dir=tmp_path))
        answers = answered(made, [Ask("one?", 2, 6), Ask("a longer question, surely?", 3, 4)])
        assert [answer.completion_tokens for answer in answers] == [6, 4]
        assert made.model_name == f"{name} (dummy weights)"


@pytest.mark.parametrize(("has_it", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_that_only_emulates_bfloat16_gets_float32(
    *, has_it: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or has_it)
    assert str(_dtype("auto", "cuda", PROFILES["opt-125m"])) == f"torch.{dtype}"
    assert str(_dtype("bfloat16", "cuda", PROFILES["opt-125m"])) == "torch.bfloat16"


def test_sampling_is_repeatable_by_its_seed(tmp_path: Path) -> None:
    def sampled(seed: int) -> list[str]:
        made = build(Settings(corpus_size=100, cache_dir=tmp_path, temperature=3.0, seed=seed))
        return [answer.result for answer in answered(made, [Ask("Which animals can make honey?", 1, 8)] * 6)]

    assert sampled(1) == sampled(1) != sampled(2)


def test_the_profiles_have_the_published_number_of_parameters() -> None:
    """Sources: the model cards. Counted on the meta device, so that nothing is allocated."""
    import torch  # noqa: PLC0415
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM  # noqa: PLC0415

    def millions(config: dict[str, object], auto: type) -> float:
        shape = dict(config)
        with torch.device("meta"):
            model = auto.from_config(AutoConfig.for_model(str(shape.pop("model_type")), **shape))
        return sum(weight.numel() for weight in model.parameters()) / 1e6

    opt, qwen = PROFILES["opt-125m"], PROFILES["qwen2.5-1.5b"]
    assert opt.embedder_config is not None
    assert opt.generator_config is not None
    assert qwen.generator_config is not None
    assert millions(dict(opt.embedder_config), AutoModel) == pytest.approx(560, rel=0.01)
    assert millions(dict(opt.generator_config), AutoModelForCausalLM) == pytest.approx(125, rel=0.01)
    assert millions(dict(qwen.generator_config), AutoModelForCausalLM) == pytest.approx(1540, rel=0.01)
