"""Model folders from strangers: none of their code runs, and damage is one line. By what happens, not by source."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from servers.rag.build import build
from servers.rag.models import TINY, ModelError
from servers.settings import Settings

CODE = """
import os
open({marker!r}, "w").close()
from torch.nn import Module
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

class TrapConfig(LlamaConfig):
    model_type = "trap"

class TrapModel(LlamaForCausalLM):
    config_class = TrapConfig

class TrapTokenizer(PreTrainedTokenizerFast):
    pass

class TrapModule(Module):
    pass
"""
MAP = {"AutoConfig": "modeling_trap.TrapConfig", "AutoModelForCausalLM": "modeling_trap.TrapModel"}
MAP |= {"AutoModel": "modeling_trap.TrapModel"}


class Reduced:
    """Unpickled without care, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


class Trap:
    """A copy of both shipped models in a folder, to be damaged; `marker` is there once code of theirs has run."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "code-has-run"
        self.folders = {"embedder": folder / "embedder", "generator": folder / "reader"}
        for part in self.folders.values():
            shutil.copytree(TINY / part.name, part)

    def code(self, kind: str) -> None:
        (self.folders[kind] / "modeling_trap.py").write_text(CODE.format(marker=str(self.marker)))

    def change(self, kind: str, name: str, **values: object) -> None:
        path = self.folders[kind] / name
        content = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(content | values))


def config(trap: Trap) -> str:
    trap.code("generator")
    trap.change("generator", "config.json", auto_map=MAP, model_type="trap")
    return "generator"


def tokenizer(trap: Trap) -> str:
    trap.code("generator")
    of_it = {"AutoTokenizer": ["modeling_trap.TrapTokenizer", "modeling_trap.TrapTokenizer"]}
    trap.change("generator", "config.json", auto_map=MAP, model_type="trap")
    trap.change("generator", "tokenizer_config.json", auto_map=of_it, tokenizer_class="TrapTokenizer")
    return "generator"


def module(trap: Trap) -> str:
    trap.code("embedder")
    of_it = [{"idx": 0, "name": "0", "path": "", "type": "modeling_trap.TrapModule"}]
    (trap.folders["embedder"] / "modules.json").write_text(json.dumps(of_it))
    return "embedder"


def module_of_transformers(trap: Trap) -> str:
    trap.code("embedder")
    of_it = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.Transformer"}]
    (trap.folders["embedder"] / "modules.json").write_text(json.dumps(of_it))
    trap.change("embedder", "config.json", auto_map=MAP, model_type="trap")
    return "embedder"


def pickled(kind: str) -> Callable[[Trap], str]:
    def damaged(trap: Trap) -> str:
        folder = trap.folders[kind]
        (folder / "model.safetensors").unlink()
        torch.save({"weight": Reduced(trap.marker)}, folder / "pytorch_model.bin")
        return kind

    return damaged


def cut_off(kind: str) -> Callable[[Trap], str]:
    def damaged(trap: Trap) -> str:
        weights = trap.folders[kind] / "model.safetensors"
        os.truncate(weights, weights.stat().st_size // 2)
        return kind

    return damaged


def no_weights(trap: Trap) -> str:
    (trap.folders["generator"] / "model.safetensors").write_bytes(b"")
    return "generator"


def odd_config(trap: Trap) -> str:
    trap.change("generator", "config.json", hidden_size="wide")
    return "generator"


def odd_modules(trap: Trap) -> str:
    (trap.folders["embedder"] / "modules.json").write_text('[{"idx": 0}]')
    return "embedder"


DAMAGES = {
    "a configuration with code": config,
    "a tokenizer with code": tokenizer,
    "a module with code": module,
    "a module of transformers with code": module_of_transformers,
    "a pickled generator": pickled("generator"),
    "a pickled embedder": pickled("embedder"),
    "a generator cut off": cut_off("generator"),
    "an embedder cut off": cut_off("embedder"),
    "empty weights": no_weights,
    "an odd configuration": odd_config,
    "odd modules": odd_modules,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_hostile_folder_is_one_line_and_runs_no_code(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person at the terminal says yes to every question."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    trap = Trap(tmp_path)
    kind = DAMAGES[damage](trap)
    given = {name: str(folder) for name, folder in trap.folders.items()}
    with pytest.raises(ModelError) as told:
        build(Settings(corpus_size=30, cache_dir=tmp_path / "cache", **given))
    assert not trap.marker.exists(), "the folder's own code has run"
    line = str(told.value)
    assert line.startswith(f"{kind} '{trap.folders[kind]}' could not be loaded: that folder does not hold a model (")
    assert "\n" not in line


def test_pickled_tensors_alone_are_read(tmp_path: Path) -> None:
    """Many models of the hub have no other weights; torch reads tensors from them and nothing else."""
    from safetensors.torch import load_file  # noqa: PLC0415

    trap = Trap(tmp_path)
    weights = trap.folders["generator"] / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    build(Settings(corpus_size=30, cache_dir=tmp_path / "cache", generator=str(weights.parent)))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["process", "thread"])
def test_a_server_asks_nobody_whether_to_run_a_folders_code(engine: str, tmp_path: Path) -> None:
    trap = Trap(tmp_path)
    config(trap)
    folder = str(trap.folders["generator"])
    argv = [sys.executable, "-m", "servers", "baseline", "--port", "0", "--engine", engine, "--generator", folder]
    argv += ["--corpus-size", "30", "--cache-dir", str(tmp_path / "cache")]
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules")}
    ended = subprocess.run(
        argv, input="y\n" * 9, capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert not trap.marker.exists(), "the folder's own code has run"
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith("--weights dummy")
    assert "Do you wish to run" not in ended.stdout + ended.stderr
