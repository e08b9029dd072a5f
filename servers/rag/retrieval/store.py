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
_FORM = 2


class StoreError(ValueError):
    """A folder does not hold a whole index; the message says what is wrong with it."""


def write(folder: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays as .npy, each named after its SHA-256, then index.json with `about` and the sums.

    Until that is renamed into place, an index that was there before is whole; then its files go. What breaks off leaves
    nothing of its own. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before, sums, written = _files_of(folder), {}, set()
    note = folder / f"{_ABOUT}.{os.getpid()}.tmp"
    try:
        for name, array in arrays.items():
            aside = folder / f"{name}.{os.getpid()}.tmp.npy"
            written.add(aside)
            np.save(aside, np.asarray(array), allow_pickle=False)
            sums[name] = _sum(aside)
            written.add(_file(folder, name, sums[name]))
            aside.replace(_file(folder, name, sums[name]))
        written.add(note)
        note.write_text(json.dumps({"form": _FORM, "about": dict(about), "sha256": sums}, indent=1), encoding="utf-8")
        note.replace(folder / _ABOUT)
    finally:
        for path in (before | written) - _files_of(folder):
            path.unlink(missing_ok=True)


def read(folder: Path, *, mapped: bool = False) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `write` was given. `mapped`: the arrays stay on disk, mapped to memory. Raises StoreError."""
    try:
        note = json.loads((folder / _ABOUT).read_bytes())
        form, about, sums = note["form"], note["about"], note["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder}: no index is there ({_ABOUT} is missing or damaged: {error})") from error
    if form != _FORM:
        raise StoreError(
            f"{folder}: written in form {form}, this program reads form {_FORM}; build it and save it again"
        )
    arrays = {}
    for name, wanted in sums.items():
        path = _file(folder, name, wanted)
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


def _file(folder: Path, name: str, sha256: str) -> Path:
    return folder / f"{name}-{sha256[:12]}.npy"


def _files_of(folder: Path) -> set[Path]:
    """Those of the index that is there; none where there is none."""
    try:
        sums = json.loads((folder / _ABOUT).read_bytes())["sha256"]
        files = {_file(folder, name, sha256) for name, sha256 in sums.items()}
        return {path for path in files if path.parent == folder}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
