"""Which weights a model is made of, in a short string: other weights, other string. Loads no model."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NO_PART = (".md", ".png", ".jpg")  # what people read


def of_model(source: str, module: Any) -> str:
    """Of a folder its files; of a hub id the commit in the hub's cache; else the weights of `module`, loaded from it.

    A folder's files are read at every start, a second a gigabyte: sizes and dates can stay when weights change.
    """
    if Path(source).is_dir():
        return f"files {of_folder(Path(source))}"
    commit = _commit(source)
    return f"commit {commit}" if commit else f"tensors {of_tensors(module)}"


def of_folder(folder: Path) -> str:
    """Names and bytes of all files that a model can consist of: weights in any format, settings, tokenizer, pooling."""
    digest = hashlib.sha256()
    for path in sorted(_files(folder)):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()[:32]


def _files(folder: Path) -> Iterator[Path]:
    """Also those behind links, as hub caches have them; a folder that links lead to twice is entered once."""
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and not name.lower().endswith(_NO_PART):
                yield Path(place, name)


def of_tensors(module: Any) -> str:
    """Names, types, shapes and values of a torch module's state, and how it is built."""
    import torch  # noqa: PLC0415

    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def _commit(source: str) -> str | None:
    """The commit of the hub's repository whose files the cache has as the newest: loading has just made them so."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    found = try_to_load_from_cache(source, "config.json")
    return Path(found).parent.name if isinstance(found, str) else None
