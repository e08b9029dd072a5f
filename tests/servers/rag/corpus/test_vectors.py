"""The corpus' vectors: computed once, kept on disk, gone on with after a kill, shared by servers that start at once."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from servers.rag.corpus import Corpus, vectors
from servers.rag.corpus.vectors import cached_vectors

# Three batches: of 256, 256 and 88 documents.
CORPUS = Corpus("test", tuple(f"d{n}" for n in range(600)), tuple("x" * n for n in range(600)))
EXPECTED = [[float(n), 1.0] for n in range(600)]


class Counting:
    """Embeds a text as its length and 1, and remembers how many came at a time; from call `fails_at` on it fails."""

    def __init__(self, *, fails_at: int | None = None) -> None:
        self.calls: list[int] = []
        self._fails_at = fails_at

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        if len(self.calls) == self._fails_at:
            raise RuntimeError("the encoder failed")
        self.calls.append(len(texts))
        return np.array([[len(text), 1] for text in texts], dtype=np.float32)


def files(folder: Path) -> list[str]:
    """Names of the files of the only vectors in a folder."""
    return sorted(path.name for path in folder.glob("*/*"))


def interrupted(folder: Path) -> None:
    """A run whose encoder fails after two batches."""
    with pytest.raises(RuntimeError, match="the encoder failed"):
        cached_vectors(CORPUS, Counting(fails_at=2), key="one", folder=folder)
    assert files(folder) == ["000000.npz", "000256.npz", "about.json"]


def rest(folder: Path) -> list[int]:
    """What the next run computes, batch by batch, until its vectors are right."""
    embedder = Counting()
    assert cached_vectors(CORPUS, embedder, key="one", folder=folder).tolist() == EXPECTED
    assert files(folder) == ["000000.npz", "000256.npz", "000512.npz", "about.json"]
    return embedder.calls


def test_vectors_are_computed_once_for_a_corpus_and_an_encoder(tmp_path: Path) -> None:
    embedder = Counting()
    first = cached_vectors(CORPUS, embedder, key="one", folder=tmp_path)
    assert first.tolist() == EXPECTED
    assert first.dtype == np.float32
    again = cached_vectors(CORPUS, embedder, key="one", folder=tmp_path)
    np.testing.assert_array_equal(first, again)
    assert embedder.calls == [256, 256, 88]
    cached_vectors(CORPUS, embedder, key="two", folder=tmp_path)
    cached_vectors(Corpus("test", ("a",), ("first text",)), embedder, key="one", folder=tmp_path)
    assert embedder.calls == [256, 256, 88, 256, 256, 88, 1]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [""] * 3 + [".lock"] * 3


def test_the_note_says_what_the_vectors_are_of(tmp_path: Path) -> None:
    cached_vectors(CORPUS, Counting(), key="one", folder=tmp_path)
    ((note,),) = [[json.loads(path.read_text()) for path in tmp_path.glob("*/*.json")]]
    assert note == {"corpus": CORPUS.checksum, "encoder": "one", "ids": list(CORPUS.ids)}


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw.replace(np.float32(300).tobytes(), np.float32(301).tobytes()),
        lambda raw: raw.replace(b"(256, 2)", b"(956, 2)"),
        lambda raw: b"",
        lambda raw: raw[:9],
        lambda raw: raw[:-3],
    ],
)
def test_a_damaged_file_is_computed_again(tmp_path: Path, damage, caplog: pytest.LogCaptureFixture) -> None:
    cached_vectors(CORPUS, Counting(), key="one", folder=tmp_path)
    (path,) = tmp_path.glob("*/000256.npz")
    path.write_bytes(damage(path.read_bytes()))
    assert rest(tmp_path) == [256]
    assert "are damaged: computing them again" in caplog.text
    assert rest(tmp_path) == []


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert cached_vectors(CORPUS, Counting(), key="one", folder=blocked / "cache").tolist() == EXPECTED


def test_without_a_home_folder_vectors_are_computed_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    folder = vectors.default_cache()
    assert folder is None
    assert cached_vectors(CORPUS, Counting(), key="one", folder=folder).tolist() == EXPECTED
    assert caplog.messages == ["vectors are not cached: there is no home folder; --cache-dir names another"]


def test_a_run_that_failed_is_gone_on_with(tmp_path: Path) -> None:
    interrupted(tmp_path)
    assert rest(tmp_path) == [88]
    assert rest(tmp_path) == []


def test_when_the_disk_is_full_the_batches_so_far_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save, saved = np.savez, []

    def full(file: object, *, vectors: np.ndarray) -> None:
        save(file, vectors=vectors)
        saved.append(vectors)
        if len(saved) == 2:
            raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("numpy.savez", full)
        assert cached_vectors(CORPUS, Counting(), key="one", folder=tmp_path).tolist() == EXPECTED
    assert len(saved) == 2
    assert caplog.messages[-1] == "the vectors from here on are not cached: disk full"
    assert rest(tmp_path) == [256, 88]


def test_where_nothing_can_be_written_only_the_damaged_batch_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_vectors(CORPUS, Counting(), key="one", folder=tmp_path)
    (path,) = tmp_path.glob("*/000000.npz")
    path.write_bytes(b"")
    locked: list[Path] = []
    lock = vectors._locked
    with monkeypatch.context() as patch:
        patch.setattr(vectors, "_locked", lambda path: locked.append(path) or lock(path))
        patch.setattr("numpy.savez", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
        embedder = Counting()
        assert cached_vectors(CORPUS, embedder, key="one", folder=tmp_path).tolist() == EXPECTED
    assert embedder.calls == [256]
    assert len(locked) == 1, "who repairs a batch holds the lock"


KILLED = """
import os, sys
from pathlib import Path
import servers.rag.corpus.vectors as vectors
import tests.servers.rag.corpus.test_vectors as test
class Killed(test.Counting):
    def documents(self, texts):
        if len(self.calls) == 2:
            os.kill(os.getpid(), int(sys.argv[2]))
        return super().documents(texts)
vectors.cached_vectors(test.CORPUS, Killed(), key="one", folder=Path(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_was_killed_is_gone_on_with(tmp_path: Path, number: int) -> None:
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(int(number))],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == -number
    assert rest(tmp_path) == [88]


class Held(Counting):
    """Goes on after its first batch only when it is let."""

    def __init__(self, *, fails_at: int | None) -> None:
        super().__init__(fails_at=fails_at)
        self.began, self.may_go_on = threading.Event(), threading.Event()

    def documents(self, texts: Sequence[str]) -> np.ndarray:
        found = super().documents(texts)
        self.began.set()
        assert self.may_go_on.wait(20)
        return found


@pytest.mark.parametrize(("fails_at", "left"), [(None, []), (2, [88])])
def test_of_two_at_once_one_waits_and_computes_what_the_other_has_not(
    tmp_path: Path, fails_at: int | None, left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, found = Held(fails_at=fails_at), Counting(), {}

    def start(embedder: Counting) -> None:
        try:
            found[embedder] = cached_vectors(CORPUS, embedder, key="one", folder=tmp_path).tolist()
        except RuntimeError:
            found[embedder] = None

    monkeypatch.setattr(vectors.log, "info", lambda *_: first.may_go_on.set())  # the second says that it waits
    threads = [threading.Thread(target=start, args=(embedder,)) for embedder in (first, second)]
    threads[0].start()
    assert first.began.wait(20)
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert first.calls == [256, 256, 88][: fails_at or 3]
    assert second.calls == left
    assert found == {first: None if fails_at else EXPECTED, second: EXPECTED}
    assert rest(tmp_path) == []


def test_a_bar_on_a_terminal_and_lines_of_the_log_elsewhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    clock = iter([0.0, 1.0, 11.0, 11.0, 20.0])  # began, batch, batch told, since then, batch
    monkeypatch.setattr(vectors, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    cached_vectors(CORPUS, Counting(), key="one", folder=tmp_path)
    assert [line for line in caplog.messages if line.startswith("embedded")] == ["embedded 256 of 600 documents"]
    assert capsys.readouterr().err == ""
    caplog.clear()
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert cached_vectors(CORPUS, Counting(), key="two", folder=tmp_path).tolist() == EXPECTED
    assert "embedding" in capsys.readouterr().err
    assert [line for line in caplog.messages if line.startswith("embedded")] == []
