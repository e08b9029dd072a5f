"""Top-k search: four backends, one contract. Embeds nothing.

`build(backend, vectors, spec) -> Index`; `index.search(queries, k)` returns the nearest, best first, ties by lowest id.
To add an array library, add its name to `arrays.LIBRARIES` and to BACKENDS.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from servers.rag.retrieval import store
from servers.rag.retrieval.rows import Rows
from servers.rag.retrieval.spec import DTYPES, KINDS, METRICS, Place, RetrieverMissing, Spec
from servers.rag.retrieval.store import StoreError

if TYPE_CHECKING:
    from servers.rag.retrieval.scan import Scan

__all__ = [
    "BACKENDS",
    "DTYPES",
    "KINDS",
    "METRICS",
    "ON_GPU",
    "Index",
    "Place",
    "RetrieverMissing",
    "Spec",
    "StoreError",
    "build",
    "check",
    "load",
]

BACKENDS = dict.fromkeys(("numpy", "torch", "cupy"), ("flat", "ivf")) | {"faiss": tuple(KINDS)}
"""Kinds of index, by backend."""
ON_GPU = ("torch", "cupy")
"""Backends that search on the GPU where the models run on one."""


class Index(Protocol):
    """Searchable vectors. The id of a vector is its place when it was added; ids are never reused."""

    @property
    def spec(self) -> Spec:
        """Settings of the index."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d): number of vectors, dimensions."""

    @property
    def nbytes(self) -> int:
        """Memory that a search reads: vectors or codes, ids, centroids; without vectors on disk."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of each query. queries (q, d) f32 -> ids (q, k) i64, scores (q, k) f32, best first.

        Scores are similarities or distances, as METRICS says; equal ones are in order of id. k is clipped to n. An
        approximate search that finds fewer than k fills up with id -1 and the worst score. Raises ValueError on queries
        that are not finite or have other dimensions, and on k < 0.
        """

    def add(self, vectors: np.ndarray) -> np.ndarray:
        """Add vectors (m, d). -> their ids (m,) i64. Raises ValueError."""

    def remove(self, ids: np.ndarray) -> int:
        """Remove vectors by id; unknown ids are ignored. -> number of vectors removed."""

    def save(self, folder: Path) -> None:
        """Write the index with checksums, for `load`. Raises OSError."""


def build(
    backend: str, vectors: np.ndarray, spec: Spec | None = None, *, device: str = "cpu", threads: int | None = None
) -> Index:
    """An index over `vectors` (n, d), f32 or f16, in memory or mapped from a file.

    `device` is for torch and CuPy, `threads` for FAISS; the others use the threads set in the process.
    Raises ValueError on vectors that are not finite and on a spec that the backend does not support, RetrieverMissing
    where its library or device is missing.
    """
    spec, place = spec or Spec(), Place(device, threads)
    check(backend, spec)
    if backend == "faiss":
        from servers.rag.retrieval.faiss_backend import FaissIndex  # noqa: PLC0415  # an extra

        return FaissIndex(Rows.of(vectors), spec, place)
    from servers.rag.retrieval.flat import Flat  # noqa: PLC0415  # scipy and the array libraries are slow to import
    from servers.rag.retrieval.ivf import Ivf  # noqa: PLC0415

    scan = _scan(backend, spec, place)
    return Flat(Rows.of(vectors), spec, scan) if spec.kind == "flat" else Ivf.build(vectors, spec, scan)


def load(folder: Path, backend: str, *, device: str = "cpu", threads: int | None = None, mapped: bool = False) -> Index:
    """The index that `save` wrote. Any backend loads a flat index; FAISS's other kinds need FAISS.

    `mapped`: the arrays stay on disk. Raises StoreError where it is missing, damaged, or of another library.
    """
    about, arrays = store.read(folder, mapped=mapped)
    try:
        spec = Spec(**about)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{folder}: {error}") from error
    place = Place(device, threads)
    check(backend, spec)
    if backend == "faiss":
        from servers.rag.retrieval.faiss_backend import FaissIndex  # noqa: PLC0415

        return FaissIndex.restore(arrays, spec, place)
    from servers.rag.retrieval.flat import Flat  # noqa: PLC0415
    from servers.rag.retrieval.ivf import Ivf  # noqa: PLC0415

    scan = _scan(backend, spec, place)
    return Flat(Rows.restored(arrays), spec, scan) if spec.kind == "flat" else Ivf.restore(arrays, spec, scan)


def check(backend: str, spec: Spec) -> None:
    """Raise ValueError for an unknown backend, or one that does not have that kind of index."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if spec.kind not in BACKENDS[backend]:
        raise ValueError(f"backend {backend} has index {', '.join(BACKENDS[backend])}, not {spec.kind}; faiss has it")


def _scan(backend: str, spec: Spec, place: Place) -> "Scan":
    """The scan that finds candidates; only flat search on torch or CuPy scans in half precision."""
    dtype = spec.dtype if spec.kind == "flat" and backend in ON_GPU else "float32"
    if (backend, dtype) == ("cupy", "bfloat16"):
        raise ValueError("retriever cupy: dtype must be float32 or float16, got bfloat16, which CuPy does not have")
    from servers.rag.retrieval.arrays import arrays_for  # noqa: PLC0415
    from servers.rag.retrieval.scan import Scan  # noqa: PLC0415

    return Scan(arrays_for(backend, place.device), spec.metric, dtype)
