"""Top-k search: one backend a file, one contract. Embeds nothing.

`build(backend, vectors, spec) -> Index`; `index.search(queries, k)` gives the nearest, best first, ties by lowest id.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from servers.rag.retrieval import store
from servers.rag.retrieval.flat import Flat
from servers.rag.retrieval.place import Place, RetrieverMissing
from servers.rag.retrieval.rows import Rows
from servers.rag.retrieval.spec import DTYPES, KINDS, METRICS, Spec
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
    "kinds",
    "load",
]

BACKENDS = {name: f"servers.rag.retrieval.{name}_backend" for name in ("numpy", "numba", "torch", "cupy", "faiss")}
"""Modules with either `require(place)`, which raises RetrieverMissing, and
`scanner(spec, place)`, which computes for indexes of our own; or, where a library brings indexes, `build(vectors, spec,
place)` and `restore(arrays, spec, place)`."""

OURS = ("flat", "ivf", "ivf_pq")
"""Kinds of index that every backend has."""
ON_GPU = ("torch", "cupy")
"""Those that search on a GPU where the models run on one."""


class Index(Protocol):
    """Vectors that can be searched. Each has an id: its place when it was added, never given again."""

    @property
    def spec(self) -> Spec:
        """What was built."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many vectors there are, and of how many dimensions."""

    @property
    def nbytes(self) -> int:
        """Memory that a search reads: vectors or codes, ids, centroids. Vectors on disk do not count."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of each query. queries (q, d) f32 -> ids (q, k) i64, scores (q, k) f32, best first.

        Scores are similarities or distances, as METRICS says; equal ones are in order of id. k is clipped to n. An
        approximate search that finds fewer than k has id -1 and the worst score in the places left. Raises ValueError
        on queries that are not finite, or of other dimensions, and on k < 0.
        """

    def add(self, vectors: np.ndarray) -> np.ndarray:
        """Take in more vectors (m, d). -> their ids (m,) i64. Raises ValueError."""

    def remove(self, ids: np.ndarray) -> int:
        """Drop vectors by id; unknown ids are passed over. -> how many there were."""

    def save(self, folder: Path) -> None:
        """Write it, with checksums; `load` reads it. Raises OSError."""


def build(
    backend: str, vectors: np.ndarray, spec: Spec | None = None, *, device: str = "cpu", threads: int | None = None
) -> Index:
    """An index over `vectors` (n, d), f32 or f16, in memory or mapped from a file.

    `device` matters to the backends that can choose one, `threads` to those that start their own (numba, FAISS); numpy
    and torch follow what the process has set. Raises ValueError on vectors that are not finite or a spec that the
    backend does not have, RetrieverMissing where its library or device is not there.
    """
    spec, place = spec or Spec(), Place(device, threads)
    module = _module(backend, spec)
    if hasattr(module, "build"):
        return cast(Index, module.build(vectors, spec, place))
    if spec.kind == "flat":
        return Flat(Rows.of(vectors), spec, module.scanner(spec, place))
    module.require(place)
    from servers.rag.retrieval.ivf import Ivf  # noqa: PLC0415

    return Ivf.build(vectors, spec, _scan(backend, place))


def load(folder: Path, backend: str, *, device: str = "cpu", threads: int | None = None, mapped: bool = False) -> Index:
    """The index that `save` wrote: a flat one in any backend, others in those of the same library (ours, or FAISS).

    `mapped`: its arrays stay on disk. Raises StoreError where it is damaged, another library's, or not there.
    """
    about, arrays = store.read(folder, mapped=mapped)
    try:
        spec = Spec(**about)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{folder}: {error}") from error
    module, place = _module(backend, spec), Place(device, threads)
    if hasattr(module, "restore"):
        return cast(Index, module.restore(arrays, spec, place))
    if spec.kind == "flat":
        return Flat(Rows.restored(arrays), spec, module.scanner(spec, place))
    module.require(place)
    from servers.rag.retrieval.ivf import Ivf  # noqa: PLC0415

    return Ivf.restore(arrays, spec, _scan(backend, place))


def kinds(backend: str) -> tuple[str, ...]:
    """The kinds of index that a backend has; imports no library."""
    return tuple(KINDS) if backend == "faiss" else OURS


def _module(backend: str, spec: Spec) -> ModuleType:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if spec.kind not in kinds(backend):
        raise ValueError(f"backend {backend} has index {', '.join(kinds(backend))}, not {spec.kind}")
    return importlib.import_module(BACKENDS[backend])


def _scan(backend: str, place: Place) -> "Scan":
    """What looks into the lists of an inverted file."""
    if backend == "numba":
        from servers.rag.retrieval.compiled_scan import CompiledScan  # noqa: PLC0415

        return CompiledScan(place.workers)
    from servers.rag.retrieval.array_scan import ArrayScan  # noqa: PLC0415
    from servers.rag.retrieval.arrays import arrays_for  # noqa: PLC0415

    return ArrayScan(arrays_for(backend, place.device))
