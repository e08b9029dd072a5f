"""numpy, torch and CuPy through the array API standard, and the few operations it lacks. Searches nothing."""

import importlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import RLock
from typing import Any, TypeVar

import numpy as np
from array_api_compat import array_namespace
from scipy.sparse import csc_array
from scipy.spatial.distance import cdist
from threadpoolctl import ThreadpoolController

from servers.rag.retrieval.spec import RetrieverMissing

T = TypeVar("T")
U = TypeVar("U")
LIBRARIES = ("numpy", "torch", "cupy")
_BLAS = RLock()  # the number of BLAS threads is global: two searches that set it would restore a wrong one


@dataclass(frozen=True, slots=True)
class Arrays:
    """Arrays of one library on one device. `xp`: its array API namespace; `library`: its name."""

    xp: Any
    library: str
    device: str

    @property
    def is_cuda(self) -> bool:
        """Whether the arrays lie in a GPU's memory."""
        return self.device != "cpu"

    def put(self, array: np.ndarray) -> Any:
        """The array on the device. On a CPU the same memory, except that torch copies read-only arrays."""
        if self.library == "torch":
            return self.xp.from_numpy(np.require(array, requirements=["C", "W"])).to(self.device)
        return self.xp.asarray(array)

    def host(self, array: Any) -> np.ndarray:
        """The array in main memory, for numpy."""
        if self.library == "torch":
            return np.asarray(array.cpu().numpy())
        return np.asarray(array.get() if self.library == "cupy" else array)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """An array on the device whose values are not set."""
        place = {"device": self.device} if self.library == "torch" else {}
        return self.xp.empty(shape, dtype=getattr(self.xp, dtype), **place)

    def map(self, task: Callable[[U], T], parts: Iterable[U]) -> list[T]:
        """Results of the task for all parts. numpy: on as many threads as BLAS has, which meanwhile is limited to one.

        On a busy machine BLAS's own threads wait for each other longer than they work.
        """
        parts = list(parts)
        if self.library != "numpy" or len(parts) < 2:
            return [task(part) for part in parts]
        with single_threaded() as threads:
            if threads == 1:
                return [task(part) for part in parts]
            with ThreadPoolExecutor(threads, thread_name_prefix="arrays") as pool:
                return list(pool.map(task, parts))

    def free_bytes(self) -> int:
        """Free memory of the GPU."""
        if self.library == "torch":
            return int(self.xp.cuda.mem_get_info()[0])
        return int(importlib.import_module("cupy").cuda.runtime.memGetInfo()[0])

    def distances(self, rows: Any, queries: Any) -> Any:
        """Sums of absolute differences. rows (b, d) f32, queries (q, d) f32 -> (b, q), of scipy in float64."""
        if self.library == "torch":
            return self.xp.cdist(rows, queries, p=1)
        if self.library == "numpy":
            return cdist(rows, queries, "cityblock")
        return self.xp.stack([self.xp.sum(self.xp.abs(rows - query), axis=1) for query in queries], axis=1)

    def sums(self, rows: Any, segments: Any, count: int) -> Any:
        """Sum of the rows of each segment. rows (n, d) f32, segments (n,) i64 in [0, count) -> (count, d) f32.

        On a GPU the order of the additions is open, and with it the last bit.
        """
        if self.library == "numpy":
            ones, ends = np.ones(len(rows), dtype=rows.dtype), np.arange(len(rows) + 1)
            return csc_array((ones, segments, ends), shape=(count, len(rows))) @ rows
        total = self.empty((count, rows.shape[1]), "float32")
        total[:] = 0
        if self.library == "torch":
            return total.index_add_(0, segments, rows)
        importlib.import_module("cupyx").scatter_add(total, segments, rows)
        return total


def arrays_for(library: str, device: str = "cpu") -> Arrays:
    """Arrays of that library. On the device cpu numpy stands in for CuPy, so that the same code runs without a GPU.

    Raises ValueError for another library, RetrieverMissing where the device is missing.
    """
    if library not in LIBRARIES:
        raise ValueError(f"library must be one of {', '.join(LIBRARIES)}, got {library!r}")
    if library == "numpy" and device != "cpu":
        raise RetrieverMissing(f"retriever numpy runs on the CPU alone, not on {device}")
    if library == "torch":
        import torch  # noqa: PLC0415  # slow to import, and only this library needs it

        if device == "cuda" and not torch.cuda.is_available():
            raise RetrieverMissing("retriever torch: torch sees no CUDA device; use device cpu")
        return Arrays(array_namespace(torch.empty(0)), library, device)
    if library == "cupy" and device != "cpu":
        return Arrays(array_namespace(_on_cupy()), library, device)
    return Arrays(array_namespace(np.empty(0)), "numpy", "cpu")


def _on_cupy() -> Any:
    """An empty array on CuPy's device. Raises RetrieverMissing."""
    try:
        import cupy  # noqa: PLC0415  # an extra

        if cupy.cuda.is_available():
            return cupy.empty(0)
    except ImportError:
        pass
    raise RetrieverMissing("retriever cupy: no CUDA device, or CuPy is not installed (extra gpu); use device cpu")


@contextmanager
def single_threaded() -> Iterator[int]:
    """Limit BLAS to one thread in this process, for one caller at a time. -> its number of threads before.

    Of several libraries, the least: scipy's own BLAS is loaded late, and has all cores where numpy's was limited.
    """
    with _BLAS:
        libraries = _libraries()
        threads = [library.num_threads for library in libraries.lib_controllers] or [1]
        if max(threads) == 1:
            yield 1
            return
        with libraries.limit(limits=1):
            yield min(threads)


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
