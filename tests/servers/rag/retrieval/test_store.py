"""An index on disk: whole at any time, and nothing left of the one before."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from servers.rag.retrieval import store

ONE = {"ids": np.arange(3), "rows": np.zeros((3, 2), dtype=np.float32)}
OTHER = {"ids": np.arange(3), "rows": np.ones((3, 2), dtype=np.float32)}


def test_a_save_that_breaks_off_leaves_the_index_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(tmp_path, {"metric": "ip"}, ONE)
    save = np.save

    def full(path: Path, array: np.ndarray, **settings: Any) -> None:
        if path.name.startswith("rows"):
            raise OSError("no space left on device")
        save(path, array + 5, **settings)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space"):
        store.write(tmp_path, {"metric": "l2"}, OTHER)
    about, arrays = store.read(tmp_path)
    assert about == {"metric": "ip"}
    for name, wanted in ONE.items():
        np.testing.assert_array_equal(arrays[name], wanted)
    assert len(list(tmp_path.iterdir())) == 1 + len(ONE)


def test_the_files_of_the_index_before_go_and_no_others(tmp_path: Path) -> None:
    store.write(tmp_path, {}, ONE)
    (tmp_path / "mine.npy").write_bytes(b"")
    store.write(tmp_path, {}, OTHER)
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["ids", "index.json", "mine.npy", "rows"]
    np.testing.assert_array_equal(store.read(tmp_path)[1]["rows"], OTHER["rows"])


def test_an_index_that_names_a_file_elsewhere_has_it_kept(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "index", tmp_path / "mine-0123456789ab.npy"
    folder.mkdir()
    elsewhere.write_bytes(b"")
    (folder / "index.json").write_text(json.dumps({"sha256": {"../mine": "0123456789ab"}}))
    store.write(folder, {}, ONE)
    assert elsewhere.exists()
