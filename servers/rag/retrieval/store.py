"""An index on disk: a folder of arrays with their checksums. Knows no index."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["StoreError", "read", "require", "write"]

_ABOUT = "index.json"
_FORM = 1


class StoreError(ValueError):
    """A folder does not hold a whole index; the message says what is wrong with it."""


def write(folder: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays as .npy, then index.json with `about` and their SHA-256, each aside and renamed.

    Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sums = {}
    for name, array in arrays.items():
        aside = folder / f"{name}.{os.getpid()}.tmp.npy"
        np.save(aside, np.asarray(array), allow_pickle=False)
        sums[name] = _sum(aside)
        aside.replace(folder / f"{name}.npy")
    note = folder / f"{_ABOUT}.{os.getpid()}.tmp"
    note.write_text(json.dumps({"form": _FORM, "about": dict(about), "sha256": sums}, indent=1))
    note.replace(folder / _ABOUT)


def read(folder: Path, *, mapped: bool = False) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `write` was given. `mapped`: the arrays stay on disk, mapped to memory. Raises StoreError."""
    try:
        note = json.loads((folder / _ABOUT).read_text())
        form, about, sums = note["form"], note["about"], note["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder}: no index is there ({_ABOUT} is missing or damaged: {error})") from error
    if form != _FORM:
        raise StoreError(f"{folder}: written in form {form}, this program reads form {_FORM}")
    arrays = {}
    for name, wanted in sums.items():
        path = folder / f"{name}.npy"
        try:
            if _sum(path) != wanted:
                raise StoreError(f"{path}: damaged, its checksum is not the one in {_ABOUT}")
            arrays[name] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        except (OSError, ValueError) as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"{path}: {error}") from error
    return about, arrays


def require(arrays: Mapping[str, np.ndarray], *names: str) -> None:
    """Raise StoreError where one is missing: another library's index, or one of another kind."""
    if missing := [name for name in names if name not in arrays]:
        raise StoreError(f"the arrays {', '.join(missing)} are not there: was it saved by another backend?")


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
