"""The corpus' vectors: computed once for an encoder, batch after batch, and kept on disk. Encodes nothing itself.

While they are computed, under a lock, each batch goes to the end of a part file. So what is killed goes on where it
was, and of several that start at once one computes and the others wait for it.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout
from rich.console import Console
from rich.progress import track

from servers.rag.corpus import Corpus, part_file

if TYPE_CHECKING:
    from servers.rag.embedding import Embedder

__all__ = ["cached_vectors", "default_cache"]

log = logging.getLogger(__name__)
_STEP = 256  # documents that are embedded, and kept, at a time
_TELL_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Files:
    """Every path of one corpus' vectors by one encoder."""

    folder: Path
    name: str

    @property
    def vectors(self) -> Path:
        """The vectors (n, d) f32, in the order of the ids."""
        return self.folder / f"{self.name}.npy"

    @property
    def note(self) -> Path:
        """The vectors' checksum, their corpus, its ids, their encoder; written last."""
        return self.folder / f"{self.name}.json"

    @property
    def part(self) -> Path:
        """What is computed so far; there only until the vectors are whole."""
        return self.folder / f"{self.name}.part"

    @property
    def lock(self) -> Path:
        """Locked by who computes them; empty."""
        return self.folder / f"{self.name}.lock"


def default_cache() -> Path | None:
    """Where vectors are kept unless told otherwise; None for a user without a home folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return None if cache.startswith("~") else Path(cache) / "ragbench"


def cached_vectors(corpus: Corpus, embedder: "Embedder", *, key: str, folder: Path | None) -> np.ndarray:
    """The corpus' vectors (n, d) f32: from `folder` if they are there and whole, otherwise computed and kept.

    `key` is `Embedder.key`. Waits for another process that computes the same, as long as that one lives. A file that
    fails its checksum is computed again; without a `folder` that can be written nothing is kept.
    """
    if folder is None:
        log.warning("vectors are not cached: there is no home folder; --cache-dir names another")
        return _joined(_computed(corpus, embedder, done=0), rows=len(corpus))
    files = Files(folder, hashlib.sha256(f"{corpus.checksum} {key}".encode()).hexdigest()[:24])
    vectors = _kept(files)
    if vectors is not None:
        return vectors
    if files.vectors.exists():
        log.warning("the cached vectors in %s are damaged: computing them again", files.vectors)
    log.info("embedding %d documents with %s", len(corpus), key)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(files.lock)
        part = files.part.open("a+b", buffering=0)
    except OSError as error:
        log.warning("vectors are not cached: %s", error)
        return _joined(_computed(corpus, embedder, done=0), rows=len(corpus))
    with lock, part:
        vectors = _kept(files)  # whoever had the lock may have finished
        if vectors is None:
            vectors = _joined(_resumed(corpus, embedder, part), rows=len(corpus))
            _keep(vectors, files, about={"corpus": corpus.checksum, "encoder": key, "ids": corpus.ids})
        else:
            files.part.unlink(missing_ok=True)
    return vectors


def _locked(path: Path) -> AcquireReturnProxy:
    """The lock, once no other process has it; leaving its block lets it go, and so does the end of the process."""
    lock = FileLock(path)
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        log.info("waiting for another server that embeds the same documents: it holds %s", path)
        return lock.acquire()


def _kept(files: Files) -> np.ndarray | None:
    """The vectors on disk; None where there are none, or not what their checksum says."""
    try:
        is_whole = json.loads(files.note.read_bytes())["sha256"] == _sha256(files.vectors)
        return np.load(files.vectors, allow_pickle=False) if is_whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(vectors: np.ndarray, files: Files, *, about: dict[str, object]) -> None:
    """Write vectors and note aside and rename them; then the part file has served. Only under the lock."""
    aside, note = files.vectors.with_suffix(".npy.tmp"), files.note.with_suffix(".json.tmp")
    try:
        with aside.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)
        note.write_text(json.dumps({"sha256": _sha256(aside), **about}), encoding="utf-8")
        aside.replace(files.vectors)
        note.replace(files.note)
        files.part.unlink()
    except OSError as error:
        log.warning("vectors are not cached: %s", error)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _joined(batches: Iterator[np.ndarray], *, rows: int) -> np.ndarray:
    """All batches in one array (rows, d) f32, without a second copy of them all."""
    first = next(batches)
    vectors = np.empty((rows, first.shape[1]), dtype=np.float32)
    done = 0
    for batch in chain([first], batches):
        vectors[done : done + len(batch)] = batch
        done += len(batch)
    assert done == rows
    return vectors


def _computed(corpus: Corpus, embedder: "Embedder", *, done: int) -> Iterator[np.ndarray]:
    """The batches after the first `done` documents."""
    for start in _told(range(done, len(corpus), _STEP), of=len(corpus)):
        yield np.ascontiguousarray(embedder.documents(corpus.texts[start : start + _STEP]), dtype=np.float32)


def _told(starts: range, *, of: int) -> Iterable[int]:
    """The same, with a bar on a terminal and a line of the log now and then elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return _logged(starts, of=of)
    steps = -(-of // _STEP)
    return track(starts, "embedding", total=steps, completed=steps - len(starts), console=console, transient=True)


def _logged(starts: range, *, of: int) -> Iterator[int]:
    told_s = time.monotonic()
    for start in starts:
        if time.monotonic() - told_s > _TELL_EVERY_S:
            told_s = time.monotonic()
            log.info("embedded %d of %d documents", start, of)
        yield start


def _resumed(corpus: Corpus, embedder: "Embedder", part: FileIO) -> Iterator[np.ndarray]:
    """Every batch: those in the part file, then the rest, which go there too for as long as it takes them."""
    done = 0
    for batch in part_file.batches(part):
        done += len(batch)
        yield batch
    if done:
        log.info("%d of them are there from a run that was cut off", done)
    is_kept = True
    for batch in _computed(corpus, embedder, done=done):
        is_kept = is_kept and part_file.append(part, batch)
        yield batch
