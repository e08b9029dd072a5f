"""Building a pipeline: what is loaded, what is refused, and what it brings in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from servers.backend import run
from servers.batched import BatchedSettings
from servers.rag import models
from servers.rag.build import _dtype, build, check_names
from servers.rag.models import PROFILES, ModelError, Profile
from servers.rag.pipeline import Ask
from servers.settings import Settings

ROOT = Path(__file__).parents[3]
BUILT = """
import sys
from servers.rag.build import build
from servers.settings import Settings
build(Settings(profile="tiny"))
print(sorted({"transformers", "sentence_transformers", "pandas"} & set(sys.modules)))
"""


def test_the_shipped_models_are_loaded_without_the_libraries_of_others() -> None:
    built = subprocess.run(
        [sys.executable, "-c", BUILT],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert built.stdout.strip() == "[]"


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
    [answer] = run(build(named), [Ask("Which animals can make honey?", 1, 8)])
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
        answers = run(made, [Ask("one?", 2, 6), Ask("a longer question, surely?", 3, 4)])
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
        return [answer.result for answer in run(made, [Ask("Which animals can make honey?", 1, 8)] * 6)]

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
