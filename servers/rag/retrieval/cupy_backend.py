"""Exact search in CuPy: fused kernels for the distances, a matrix product for the rest.

Where there is no device numpy runs the same code: the library is one name, `xp`, and what differs is in `_library`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from servers.rag.retrieval.flat import Candidates
from servers.rag.retrieval.metrics import error_terms
from servers.rag.retrieval.place import Place, RetrieverMissing
from servers.rag.retrieval.spec import Spec

__all__ = ["CupyScanner", "has_device", "require", "scanner"]

_KEYS_BYTES = {"cpu": 1 << 21, "cuda": 1 << 30}
_BLOCK_BYTES = {"cpu": 1 << 26, "cuda": 1 << 30}
_SHARE = 0.8  # of the GPU's free memory that vectors may take


class _Block(NamedTuple):
    rows: Any
    norms: Any


class _Library(NamedTuple):
    """An array library: `l1` and `l2` are sums over an axis, of absolute and of squared differences, in float32."""

    xp: Any
    device: str
    l1: Callable[..., Any]
    l2: Callable[..., Any]


def has_device() -> bool:
    """Whether CuPy is installed and sees a GPU."""
    try:
        import cupy  # noqa: PLC0415
    except ImportError:
        return False
    return bool(cupy.cuda.is_available())


def _library(device: str) -> _Library:
    if device == "cpu":
        return _Library(
            np,
            "cpu",
            lambda a, b, axis: np.abs(a - b).sum(axis=axis, dtype=np.float32),
            lambda a, b, axis: np.square(a - b).sum(axis=axis, dtype=np.float32),
        )
    import cupy  # noqa: PLC0415

    def fused(name: str, term: str) -> Callable[..., Any]:
        """One kernel that reads both operands once, as they are broadcast, and writes the sums alone."""
        return cupy.ReductionKernel("T a, T b", "float32 y", term, "a + b", "y = a", "0", name, reduce_type="float")

    return _Library(
        cupy,
        "cuda",
        fused("ragbench_l1", "fabsf(static_cast<float>(a) - static_cast<float>(b))"),
        fused(
            "ragbench_l2",
            "(static_cast<float>(a) - static_cast<float>(b)) * (static_cast<float>(a) - static_cast<float>(b))",
        ),
    )


class CupyScanner:
    """See Scanner. The vectors stay on the GPU if they fit; else a block is copied while the one before is searched."""

    def __init__(self, spec: Spec, library: _Library) -> None:
        self._metric = spec.metric
        self._library, self._xp = library, library.xp
        self._dtype = np.dtype(spec.dtype)
        self.is_direct = spec.metric in {"l1", "l2"}
        self._copies = self._xp.cuda.Stream(non_blocking=True) if library.device == "cuda" else None

    def largest(self, dimensions: int, queries: int, *, is_held: bool) -> int:
        """See Scanner. Numpy writes the differences that fused kernels keep in registers, so they bound its blocks."""
        device = self._library.device
        is_written = self.is_direct and device == "cpu"
        by_keys = _KEYS_BYTES[device] // (4 * queries)
        by_rows = _BLOCK_BYTES[device] // (4 * dimensions * (queries if is_written else 1))
        return max(1, by_keys if is_held and not is_written else min(by_keys, by_rows))

    def terms(self, dimensions: int) -> int:
        """See Scanner; fused kernels add in the lanes of a block of threads."""
        return error_terms(dimensions)

    def hold(self, vectors: np.ndarray, norms: np.ndarray) -> _Block | None:
        """See Scanner."""
        count, dimensions = vectors.shape
        if self._library.device == "cuda":
            free, _ = self._xp.cuda.runtime.memGetInfo()
            if count * (dimensions * self._dtype.itemsize + 4) > _SHARE * free:
                return None
        rows = self._xp.empty((count, dimensions), dtype=self._dtype)
        step = max(1, _BLOCK_BYTES[self._library.device] // (4 * dimensions))
        for start in range(0, count, step):
            rows[start : start + step] = self._xp.asarray(vectors[start : start + step])
        return _Block(rows, self._xp.asarray(norms))

    def part(self, held: _Block, start: int, stop: int) -> _Block:
        """See Scanner."""
        return _Block(held.rows[start:stop], held.norms[start:stop])

    def put(self, rows: np.ndarray, norms: np.ndarray) -> _Block:
        """See Scanner; on a GPU by a stream of its own, waited for here, in the thread that is a block ahead."""
        if self._copies is None:
            return _Block(rows.astype(self._dtype, copy=False), norms)
        with self._copies:
            block = _Block(self._xp.asarray(rows).astype(self._dtype, copy=False), self._xp.asarray(norms))
            self._copies.synchronize()
        return block

    def ready(self, queries: np.ndarray) -> Any:
        """See Scanner."""
        wanted = self._xp.asarray(queries)
        if self._metric != "cosine":
            return wanted
        lengths = self._xp.sqrt((wanted * wanted).sum(axis=1, keepdims=True))
        return wanted / self._xp.where(lengths > 0, lengths, 1)

    def scan(self, queries: Any, block: _Block, floor: np.ndarray) -> Candidates:
        """See Scanner."""
        keys = self._keys(queries, block)
        places, of = self._xp.nonzero(keys >= self._xp.asarray(floor))
        found = of, places, keys[places, of]
        return Candidates(*found) if self._xp is np else Candidates(*(part.get() for part in found))

    def _keys(self, queries: Any, block: _Block) -> Any:
        """Keys (b, q) f32."""
        rows, asked = block.rows, queries.astype(self._dtype, copy=False)
        if self.is_direct:
            distance = self._library.l1 if self._metric == "l1" else self._library.l2
            return -distance(rows[:, None, :], asked[None, :, :], axis=2)
        keys = (rows @ asked.T).astype(np.float32, copy=False)
        if self._metric == "cosine":
            keys = keys / self._xp.sqrt(self._xp.where(block.norms > 0, block.norms, 1))[:, None]
        return keys


def require(place: Place) -> None:
    """See BACKENDS. On the device cpu numpy runs it."""
    if place.device == "cuda" and not has_device():
        raise RetrieverMissing("retriever cupy: no CUDA device, or CuPy is not installed (extra gpu); use device cpu")


def scanner(spec: Spec, place: Place) -> CupyScanner:
    """See BACKENDS."""
    if spec.dtype == "bfloat16":
        raise ValueError("retriever cupy: dtype must be float32 or float16, got bfloat16, which CuPy does not have")
    require(place)
    return CupyScanner(spec, _library(place.device))
