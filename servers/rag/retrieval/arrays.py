"""Arrays of numpy, torch and cupy behind the one API they share, and the few things that it lacks. Searches nothing.

The shared part is the array API standard, by way of array-api-compat: `arrays.xp` is its namespace.
"""

import importlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from scipy.sparse import csc_array

from servers.rag.retrieval.blas import single_threaded

__all__ = ["LIBRARIES", "Arrays", "arrays_for"]

LIBRARIES = ("numpy", "torch", "cupy")

_CACHED, _BUSY = 1 << 19, 1 << 22


@dataclass(frozen=True, slots=True)
class Arrays:
    """One library's arrays on one device. `xp`: its namespace; `library`: which one it is."""

    xp: Any
    library: str
    device: str

    def put(self, array: np.ndarray) -> Any:
        """The array on the device: itself for numpy, for torch on a CPU the same memory if it may be written."""
        if self.library == "torch":
            return self.xp.from_numpy(np.require(array, requirements=["C", "W"])).to(self.device)
        return self.xp.asarray(array)

    def host(self, array: Any) -> np.ndarray:
        """The array in main memory, for numpy."""
        if self.library == "torch":
            return np.asarray(array.cpu().numpy())
        return np.asarray(array.get() if self.library == "cupy" else array)

    def zeros(self, *shape: int, dtype: str = "float32") -> Any:
        """Zeros on the device."""
        if self.library == "torch":
            return self.xp.zeros(shape, dtype=getattr(self.xp, dtype), device=self.device)
        return self.xp.zeros(shape, dtype=getattr(self.xp, dtype))

    @property
    def block(self) -> int:
        """Floats of a block of work: what a core's cache holds, or enough to keep a device busy."""
        return _CACHED if self.library == "numpy" else _BUSY

    def each(self, task: Callable[[slice], None], parts: Iterable[slice]) -> None:
        """Do the task for each part: with numpy on as many threads as BLAS has, which meanwhile has one."""
        if self.library != "numpy":
            for part in parts:
                task(part)
            return
        with single_threaded() as threads, ThreadPoolExecutor(threads, thread_name_prefix="blocks") as pool:
            for _ in pool.map(task, parts):
                pass

    def top_k(self, keys: Any, k: int) -> tuple[Any, Any]:
        """The k largest of each row. keys (q, n) -> keys (q, k), best first, their columns (q, k); ties in any order.

        Needs 1 <= k <= n.
        """
        if self.library == "torch":
            best = self.xp.topk(keys, k, dim=1)
            return best.values, best.indices
        xp, columns = self.xp, keys.shape[1]
        best = xp.argpartition(keys, columns - k, axis=1)[:, columns - k :] if k < columns else None
        found = keys if best is None else xp.take_along_axis(keys, best, axis=1)
        order = xp.argsort(-found, axis=1)
        return xp.take_along_axis(found, order, axis=1), order if best is None else xp.take_along_axis(
            best, order, axis=1
        )

    def kth_best(self, keys: Any, k: int) -> Any:
        """The k-th largest key of each row, (q,); cheaper in numpy than to say where it is. Needs 1 <= k <= n."""
        if self.library == "torch":
            return self.xp.topk(keys, k, dim=1).values[:, -1]
        return self.xp.partition(keys, keys.shape[1] - k, axis=1)[:, keys.shape[1] - k]

    def sums(self, rows: Any, segments: Any, count: int) -> Any:
        """Sum of the rows of each segment. rows (n, d) f32, segments (n,) i64 in [0, count) -> (count, d) f32.

        On a GPU the order of the additions is open, and with it the last bit.
        """
        if self.library == "numpy":
            ones, ends = np.ones(len(rows), dtype=rows.dtype), np.arange(len(rows) + 1)
            return csc_array((ones, segments, ends), shape=(count, len(rows))) @ rows
        total = self.zeros(count, rows.shape[1])
        if self.library == "torch":
            return total.index_add_(0, segments, rows)
        importlib.import_module("cupyx").scatter_add(total, segments, rows)
        return total


def arrays_for(library: str, device: str = "cpu") -> Arrays:
    """Arrays of that library; "cupy" gives numpy's on the CPU or where CuPy has no device, so that the same code runs.

    `device` is torch's name of one; on any but the CPU CuPy uses its current device. Raises ValueError for another
    library.
    """
    if library not in LIBRARIES:
        raise ValueError(f"library must be one of {', '.join(LIBRARIES)}, got {library!r}")
    if library == "torch":
        import torch  # noqa: PLC0415  # slow to import, and only this library needs it

        return Arrays(array_namespace(torch.empty(0)), library, device)
    if library == "cupy" and device != "cpu" and (array := _on_cupy()) is not None:
        return Arrays(array_namespace(array), library, device)
    return Arrays(array_namespace(np.empty(0)), "numpy", "cpu")


def _on_cupy() -> Any:
    """An empty array on CuPy's device, or None where there is none."""
    try:
        import cupy  # noqa: PLC0415  # an extra

        return cupy.empty(0) if cupy.cuda.runtime.getDeviceCount() else None
    except (ImportError, RuntimeError):  # CUDARuntimeError is a RuntimeError: no driver
        return None
