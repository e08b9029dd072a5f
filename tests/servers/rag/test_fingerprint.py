"""A changed model never meets vectors that were cached before, whatever was changed and however it is stored."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from servers.rag import fingerprint
from servers.rag.embedding import DummyEncoder, Embedder, SentenceEncoder
from servers.rag.models import PROFILES, TINY
from servers.rag.tokens import FileTokenizer

ROOT = Path(__file__).parents[3]
SHAPE = {
    "model_type": "xlm-roberta",
    "vocab_size": 6000,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with weights in a format that is not safetensors."""
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "pytorch_model.bin").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


def rewrite_keeping_size_and_date(path: Path) -> None:
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"weights", b"WEIGHTS"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: rewrite_keeping_size_and_date(model / "pytorch_model.bin"),
        lambda model: (model / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}'),
        lambda model: (model / "adapter_model.pt").write_bytes(b""),
        lambda model: (model / "config.json").rename(model / "config2.json"),
        lambda model: (model / "pytorch_model.bin").rename(model / "model.bin"),
    ],
)
def test_a_changed_file_of_any_format_is_another_model(model: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint.of_folder(model)
    change(model)
    assert fingerprint.of_folder(model) != before


def test_a_copy_is_the_same_model_and_so_is_one_with_another_readme(model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    (copy / "README.md").write_text("new words")
    (copy / ".git").mkdir()
    (copy / ".git" / "HEAD").write_text("x")
    assert fingerprint.of_folder(copy) == fingerprint.of_folder(model)


def test_files_behind_links_count_and_links_in_a_circle_end(model: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in model.iterdir():
        (linked / path.name).symlink_to(path)
    assert fingerprint.of_folder(linked) == fingerprint.of_folder(model)
    (linked / "self").symlink_to(linked)
    before = fingerprint.of_folder(linked)
    (model / "1_Pooling" / "config.json").write_text("{}")
    assert fingerprint.of_folder(linked) != before


def test_a_model_of_neither_a_folder_nor_the_hubs_cache_is_known_by_its_tensors() -> None:
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    keys = [fingerprint.of_model("nobody/no-such-model", module) for module in (one, one, other)]
    assert keys[0] == keys[1] != keys[2]
    assert keys[0].startswith("tensors ")


def test_tensors_that_differ_in_one_number_are_other_weights() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)).to(torch.bfloat16)
    before = fingerprint.of_tensors(module)
    assert fingerprint.of_tensors(module) == before
    with torch.no_grad():
        module[0].bias[1] += 1
    assert fingerprint.of_tensors(module) != before


def key_of(folder: Path, dtype: torch.dtype = torch.float32) -> str:
    return Embedder(SentenceEncoder(str(folder), device="cpu", dtype=dtype), PROFILES["tiny"]).key


def test_the_key_of_a_folder_follows_its_weights_and_the_number_format(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY / "embedder", tmp_path / "mine"))
    first = key_of(folder)
    assert key_of(folder) == first
    assert key_of(folder, torch.bfloat16) != first
    assert str(tmp_path) not in first
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules, indent=1))
    assert key_of(folder) != first


def test_the_key_of_dummy_weights_follows_seed_shape_number_format_and_tokenizer() -> None:
    def key(shape: dict[str, object] = SHAPE, *, seed: int = 0, dtype: torch.dtype = torch.float32, part: str) -> str:
        tokenizer = FileTokenizer(TINY / part)
        return Embedder(DummyEncoder(shape, tokenizer, device="cpu", dtype=dtype, seed=seed), PROFILES["tiny"]).key

    keys = [
        key(part="reader"),
        key(part="reader", seed=1),
        key({**SHAPE, "intermediate_size": 32}, part="reader"),
        key(part="reader", dtype=torch.bfloat16),
        key(part="embedder"),
    ]
    assert len(set(keys)) == 5
    assert key(part="reader") == keys[0]


HUB = """
import sys
import torch
from servers.rag.embedding import Embedder, SentenceEncoder
from servers.rag.models import PROFILES
encoder = SentenceEncoder("me/mine", device="cpu", dtype=torch.float32)
print(Embedder(encoder, PROFILES["opt-125m"]).key)
"""


@pytest.mark.slow
def test_the_key_of_a_hub_model_follows_its_revision(tmp_path: Path) -> None:
    """Two revisions of one name in the hub's cache, first one and then the other the newest."""
    hub = tmp_path / "models--me--mine"
    (hub / "refs").mkdir(parents=True)
    keys = []
    for commit in ("a" * 40, "b" * 40):
        write_bert(hub / "snapshots" / commit)
        (hub / "refs" / "main").write_text(commit)
        keys.append(
            subprocess.run(
                [sys.executable, "-c", HUB],
                cwd=ROOT,
                env=os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
    assert "a" * 40 in keys[0]
    assert "b" * 40 in keys[1]


def write_bert(folder: Path) -> None:
    from transformers import AutoConfig, AutoModel, AutoTokenizer  # noqa: PLC0415

    shape = dict(SHAPE)
    AutoModel.from_config(AutoConfig.for_model(shape.pop("model_type"), **shape)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(TINY / "reader").save_pretrained(folder)
    assert load_file(folder / "model.safetensors")
