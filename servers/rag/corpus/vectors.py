"""The cache of a corpus' vectors: computed once for an encoder, in batches, and kept on disk.

The process that computes them holds a lock and appends each batch to a part file. A killed process can so be resumed,
and of several servers that start together one computes and the others wait.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
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

log = logging.getLogger(__name__)
_STEP = 256  # documents in a batch
_LOG_EVERY_S = 10.0


def default_cache() -> Path | None:
    """Where vectors are kept by default; None for a user without a home folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return None if cache.startswith("~") else Path(cache) / "ragbench"


def cached_vectors(corpus: Corpus, embedder: "Embedder", *, key: str, folder: Path | None) -> np.ndarray:
    """The corpus' vectors (n, d) f32, in the order of its ids: from `folder`, or computed and kept there.

    `key` is `Embedder.key`. Waits while another process computes the same vectors. A file that fails its checksum is
    computed again; if `folder` cannot be written, nothing is kept. Of a file `name.npy` of vectors, `name.json` has
    checksum, corpus, ids and encoder, and is written last; `name.part` are the batches so far.
    """
    if folder is None:
        log.warning("vectors are not cached: there is no home folder; --cache-dir names another")
        return _joined(_computed(corpus, embedder, done=0), rows=len(corpus))
    path = folder / (hashlib.sha256(f"{corpus.checksum} {key}".encode()).hexdigest()[:24] + ".npy")
    part_path = path.with_suffix(".part")
    vectors = _cached(path)
    if vectors is not None:
        return vectors
    if path.exists():
        log.warning("the cached vectors in %s are damaged: computing them again", path)
    log.info("embedding %d documents with %s", len(corpus), key)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(path.with_suffix(".lock"))
        part = part_path.open("a+b", buffering=0)
    except OSError as error:
        log.warning("vectors are not cached: %s", error)
        return _joined(_computed(corpus, embedder, done=0), rows=len(corpus))
    with lock, part:
        vectors = _cached(path)  # another process may have finished meanwhile
        if vectors is None:
            vectors = _joined(_resumed(corpus, embedder, part), rows=len(corpus))
            _save(vectors, path, about={"corpus": corpus.checksum, "encoder": key, "ids": corpus.ids})
        else:
            part_path.unlink(missing_ok=True)
    return vectors


def _locked(path: Path) -> AcquireReturnProxy:
    """The acquired lock, which the end of its block or of the process releases."""
    lock = FileLock(path)
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        log.info("waiting for another server that embeds the same documents: it holds %s", path)
        return lock.acquire()


def _cached(path: Path) -> np.ndarray | None:
    """The vectors on disk; None if there are none or their checksum is wrong."""
    try:
        is_intact = json.loads(path.with_suffix(".json").read_bytes())["sha256"] == _sha256(path)
        return np.load(path, allow_pickle=False) if is_intact else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save(vectors: np.ndarray, path: Path, *, about: dict[str, object]) -> None:
    """Write vectors and note to temporary files, rename them, remove the part file. Only under the lock."""
    temporary, note = path.with_suffix(".npy.tmp"), path.with_suffix(".json.tmp")
    try:
        with temporary.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)
        note.write_text(json.dumps({"sha256": _sha256(temporary), **about}), encoding="utf-8")
        temporary.replace(path)
        note.replace(path.with_suffix(".json"))
        path.with_suffix(".part").unlink()
    except OSError as error:
        log.warning("vectors are not cached: %s", error)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _joined(batches: Iterator[np.ndarray], *, rows: int) -> np.ndarray:
    """All batches in one array (rows, d) f32, which is allocated once."""
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
    for start in _with_progress(range(done, len(corpus), _STEP), of=len(corpus)):
        yield np.ascontiguousarray(embedder.documents(corpus.texts[start : start + _STEP]), dtype=np.float32)


def _with_progress(starts: range, *, of: int) -> Iterable[int]:
    """The same, with a progress bar on a terminal, and otherwise with a line in the log now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return _logged(starts, of=of)
    steps = -(-of // _STEP)
    return track(starts, "embedding", total=steps, completed=steps - len(starts), console=console, transient=True)


def _logged(starts: range, *, of: int) -> Iterator[int]:
    logged_s = time.monotonic()
    for start in starts:
        if time.monotonic() - logged_s > _LOG_EVERY_S:
            logged_s = time.monotonic()
            log.info("embedded %d of %d documents", start, of)
        yield start


def _resumed(corpus: Corpus, embedder: "Embedder", part: FileIO) -> Iterator[np.ndarray]:
    """The batches in the part file, then the others, which are appended to it until that fails."""
    done = 0
    for batch in part_file.batches(part):
        done += len(batch)
        yield batch
    if done:
        log.info("%d of them are there from an earlier run", done)
    can_append = True
    for batch in _computed(corpus, embedder, done=done):
        can_append = can_append and part_file.append(part, batch)
        yield batch
