"""A short string that identifies the weights of a model."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NO_PART = (".md", ".png", ".jpg")


def of_model(source: str, module: Any) -> str:
    """Of a folder, its files; of a hub id, the commit in the hub's cache, or else the weights of `module`.

    Files are read at every start, at about one second a gigabyte, since size and date may stay when weights change.
    """
    if Path(source).is_dir():
        return f"files {of_folder(Path(source))}"
    commit = _commit(source)
    return f"commit {commit}" if commit else f"tensors {of_tensors(module)}"


def of_folder(folder: Path) -> str:
    """Hash of the names and bytes of all files in a folder except texts and pictures."""
    digest = hashlib.sha256()
    for path in sorted(_files(folder)):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()[:32]


def _files(folder: Path) -> Iterator[Path]:
    """All files, also behind links, as in hub caches; a folder is entered once."""
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
    """Hash of a torch module: its structure, and the names, types, shapes and values of its state."""
    import torch  # noqa: PLC0415

    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def _commit(source: str) -> str | None:
    """The commit of a hub repository in the cache, which loading has just updated."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    path = try_to_load_from_cache(source, "config.json")
    return Path(path).parent.name if isinstance(path, str) else None
