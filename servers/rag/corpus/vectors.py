"""The cache of a corpus' vectors: computed once for an encoder, in batches, and kept on disk.

Each batch is a file of its own. A killed process can so be resumed, and a damaged file is computed again. The process
that computes holds a lock: of several servers that start together one computes and the others wait.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout
from rich.console import Console
from rich.progress import track

from servers.rag.corpus import Corpus

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

    `key` is `Embedder.key`. Waits while another process computes the same vectors. If `folder` cannot be written,
    nothing is kept. In the folder of some vectors, `about.json` has corpus, ids and encoder, and `000256.npz` the batch
    from document 256 on.
    """
    if folder is None:
        log.warning("vectors are not cached: there is no home folder; --cache-dir names another")
        return _joined(_batches(corpus, embedder, None), rows=len(corpus))
    path = folder / hashlib.sha256(f"{corpus.checksum} {key}".encode()).hexdigest()[:24]
    if (vectors := _cached(path, len(corpus))) is not None:
        return vectors
    log.info("embedding %d documents with %s", len(corpus), key)
    try:
        path.mkdir(parents=True, exist_ok=True)
        about = {"corpus": corpus.checksum, "encoder": key, "ids": corpus.ids}
        (path / "about.json").write_text(json.dumps(about), encoding="utf-8")
        lock = _locked(path.with_suffix(".lock"))
    except OSError as error:
        log.warning("vectors are not cached: %s", error)
        return _joined(_batches(corpus, embedder, None), rows=len(corpus))
    with lock:
        return _joined(_batches(corpus, embedder, path), rows=len(corpus))


def _locked(path: Path) -> AcquireReturnProxy:
    """The acquired lock, which the end of its block or of the process releases."""
    lock = FileLock(path)
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        log.info("waiting for another server that embeds the same documents: it holds %s", path)
        return lock.acquire()


def _cached(path: Path, rows: int) -> np.ndarray | None:
    """All vectors, read from the folder; None if a batch is missing or damaged."""

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, rows, _STEP):
            if (batch := _read(_file(path, start))) is None:
                raise FileNotFoundError
            yield batch

    try:
        return _joined(batches(), rows=rows)
    except FileNotFoundError:
        return None


def _batches(corpus: Corpus, embedder: "Embedder", path: Path | None) -> Iterator[np.ndarray]:
    """The batches in order: read from the folder, or computed and kept there until that fails."""
    is_writable = True
    for start in _starts(len(corpus)):
        batch = None if path is None else _read(_file(path, start))
        if batch is None:
            batch = np.ascontiguousarray(embedder.documents(corpus.texts[start : start + _STEP]), dtype=np.float32)
            if path is not None and is_writable:
                is_writable = _keep(_file(path, start), batch)
        yield batch


def _file(path: Path, start: int) -> Path:
    return path / f"{start:06}.npz"


def _read(file: Path) -> np.ndarray | None:
    """A batch on disk; None if there is none or it is damaged, which the CRC-32 of the ZIP format shows."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as saved:
            return saved["vectors"]
    except FileNotFoundError:
        return None
    except Exception as error:  # damaged files raise all kinds of exceptions
        log.warning("the cached vectors in %s are damaged: computing them again (%s)", file, error)
        return None


def _keep(file: Path, batch: np.ndarray) -> bool:
    """Write a batch under a temporary name and rename it. -> whether that worked."""
    try:
        with file.with_suffix(".tmp").open("wb") as temporary:
            np.savez(temporary, vectors=batch)
        file.with_suffix(".tmp").replace(file)
    except OSError as error:
        log.warning("the vectors from here on are not cached: %s", error)
        return False
    return True


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


def _starts(count: int) -> Iterator[int]:
    """The first document of each batch, with a progress bar on a terminal, otherwise with a log line now and then."""
    starts, console = range(0, count, _STEP), Console(stderr=True)
    if console.is_terminal:
        yield from track(starts, "embedding", console=console, transient=True)
        return
    logged_s = time.monotonic()
    for start in starts:
        if time.monotonic() - logged_s > _LOG_EVERY_S:
            logged_s = time.monotonic()
            log.info("embedded %d of %d documents", start, count)
        yield start
