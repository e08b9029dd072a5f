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


def interrupted(folder: Path) -> None:
    """A run whose encoder fails after two batches."""
    with pytest.raises(RuntimeError, match="the encoder failed"):
        cached_vectors(CORPUS, Counting(fails_at=2), key="one", folder=folder)
    assert sorted(path.suffix for path in folder.iterdir()) == [".lock", ".part"]


def rest(folder: Path) -> list[int]:
    """What the next run computes, batch by batch, until its vectors are right."""
    embedder = Counting()
    assert cached_vectors(CORPUS, embedder, key="one", folder=folder).tolist() == EXPECTED
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".lock", ".npy"]
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
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json"] * 3 + [".lock"] * 3 + [".npy"] * 3


def test_the_note_says_what_the_vectors_are_of(tmp_path: Path) -> None:
    cached_vectors(CORPUS, Counting(), key="one", folder=tmp_path)
    ((note,),) = [[json.loads(path.read_text()) for path in tmp_path.glob("*.json")]]
    assert note.keys() == {"sha256", "corpus", "encoder", "ids"}
    assert (note["corpus"], note["encoder"], note["ids"]) == (CORPUS.checksum, "one", list(CORPUS.ids))


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-4] + b"\0\0\0\0", lambda raw: b"", lambda raw: raw[:9]])
def test_a_damaged_file_is_computed_again(
    tmp_path: Path, suffix: str, damage, caplog: pytest.LogCaptureFixture
) -> None:
    cached_vectors(CORPUS, Counting(), key="one", folder=tmp_path)
    (path,) = tmp_path.glob(f"*{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    assert rest(tmp_path) == [256, 256, 88]
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


def test_a_batch_that_was_cut_off_is_computed_again(tmp_path: Path) -> None:
    interrupted(tmp_path)
    (part,) = tmp_path.glob("*.part")
    part.write_bytes(part.read_bytes()[:-3])
    assert rest(tmp_path) == [256, 88]


def test_a_run_that_failed_when_all_was_computed_computes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("numpy.save", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
        assert cached_vectors(CORPUS, Counting(), key="one", folder=tmp_path).tolist() == EXPECTED
    assert rest(tmp_path) == []


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
