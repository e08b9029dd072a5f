"""An index on disk: a folder of arrays with their checksums. Knows no index."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_ABOUT = "index.json"
_FORM = 2


class StoreError(ValueError):
    """A folder holds no complete index; the message says what is wrong."""


def write(folder: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write each array as .npy, named after its SHA-256, then index.json with `about` and the checksums.

    index.json is renamed into place last: until then an earlier index stays complete. Its files are deleted at the end,
    and those of a write that fails. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, sums = _files_of(folder), {}
    with tempfile.TemporaryDirectory(prefix=".index-", dir=folder) as scratch_name:
        scratch = Path(scratch_name)
        try:
            for name, array in arrays.items():
                np.save(scratch / f"{name}.npy", np.asarray(array), allow_pickle=False)
                sums[name] = _sum(scratch / f"{name}.npy")
            for array_name, sha256 in sums.items():
                files.add(target := _file(folder, array_name, sha256))
                (scratch / f"{array_name}.npy").replace(target)
            note = json.dumps({"form": _FORM, "about": dict(about), "sha256": sums}, indent=1)
            (scratch / _ABOUT).write_text(note, encoding="utf-8")
            (scratch / _ABOUT).replace(folder / _ABOUT)
        finally:
            for path in files - _files_of(folder):
                path.unlink(missing_ok=True)


def read(folder: Path, *, mapped: bool = False) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The `about` and the arrays of `write`. `mapped`: the arrays are memory-mapped. Raises StoreError."""
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
            is_damaged = _sum(path) != wanted
            arrays[name] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: damaged: {error}") from error
        if is_damaged:
            raise StoreError(f"{path}: damaged, its checksum is not the one in {_ABOUT}")
    return about, arrays


def require(arrays: Mapping[str, np.ndarray], *names: str) -> None:
    """Raise StoreError where an array is missing: the index is of another library or kind."""
    if missing := [name for name in names if name not in arrays]:
        raise StoreError(f"the arrays {', '.join(missing)} are not there: was it saved by another backend?")


def _file(folder: Path, name: str, sha256: str) -> Path:
    return folder / f"{name}-{sha256[:12]}.npy"


def _files_of(folder: Path) -> set[Path]:
    """The array files of the folder's index; none where it has no index."""
    try:
        sums = json.loads((folder / _ABOUT).read_bytes())["sha256"]
        files = {_file(folder, name, sha256) for name, sha256 in sums.items()}
        return {path for path in files if path.parent == folder}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
