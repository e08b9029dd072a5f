"""The roofline: bytes and operations per second of a device, and how many a search needs. Searches nothing.

Source: Williams, Waterman and Patterson, Roofline, CACM 52(4), 2009.
"""

import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from servers.measure.retrieval.job import Contender, Job, Point

SETTLED_S = 0.05  # a pause in which the threads of the library used before stop spinning
TURN_S = 0.1  # the least time of a turn, over as many calls as it takes

_COPY_BYTES = {"cpu": 1 << 26, "cuda": 1 << 30}
_SIDE = {"cpu": 1024, "cuda": 8192}
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_OPERATIONS = {"ip": 2, "cosine": 2, "l2": 2, "l1": 3}
"""Per pair of numbers: multiply and add; for l1 subtract, take the absolute value, add."""


class Rates:
    """Copies and matrix products, timed at each `turn`: a slow spell of the machine affects them and searches alike."""

    def __init__(self, device: str, threads: int, dtype: str = "float32") -> None:
        self.device, self.threads, self.dtype = device, threads, dtype
        size, side = _COPY_BYTES[device], _SIDE[device]
        self._copy, self._product = _on_cpu(size, side, threads) if device == "cpu" else _on_gpu(size, side, dtype)
        self._copy_s, self._product_s = list[float](), list[float]()
        for work in (self._copy, self._product):  # warm-up
            _seconds(work)

    def turn(self) -> None:
        """Time both once more."""
        time.sleep(SETTLED_S)
        self._copy_s.append(_seconds(self._copy))
        self._product_s.append(_seconds(self._product))

    @property
    def bytes_per_s(self) -> float:
        """Bytes that a copy reads and writes per second."""
        return 2 * _COPY_BYTES[self.device] / median(self._copy_s)

    @property
    def flops_per_s(self) -> float:
        """Operations per second of a product of square matrices."""
        return 2 * _SIDE[self.device] ** 3 / median(self._product_s)

    def as_dict(self) -> dict[str, Any]:
        """JSON values of `--rates`."""
        return {
            "device": self.device,
            "name": _machine(self.device),
            "threads": self.threads if self.device == "cpu" else None,
            "copy_gb_per_s": round(self.bytes_per_s / 1e9, 2),
            "matmul_gflop_per_s": {self.dtype: round(self.flops_per_s / 1e9, 1)},
        }


def search_work(job: Job, contender: Contender, point: Point, lists: int | None) -> tuple[float, float] | None:
    """Bytes and operations that a batch needs at least; None where they are unknown (codes, graphs).

    flat: every vector is read once. ivf: the centroids, and the lists that the queries probe, as if each query probed
    random ones; a list is read once.
    """
    size, d = _BYTES[contender.dtype] if contender.device == "cuda" else 4, job.d
    batch_bytes = 4.0 * d * point.batch
    if contender.index == "flat":
        return job.n * d * size + batch_bytes, float(_OPERATIONS[job.metric]) * point.batch * job.n * d
    if contender.index == "ivf" and lists:
        share = min(1.0, (point.nprobe or 8) / lists)
        operations = 2.0 * point.batch * d * (lists + job.n * share)
        read = job.n * (1 - (1 - share) ** point.batch)
        return 4.0 * d * (lists + read) + batch_bytes, operations
    return None


def kmeans_work(job: Job, clusters: int, iterations: int) -> tuple[float, float]:
    """Bytes and operations of `iterations` assignments of every vector."""
    return 4.0 * iterations * job.n * job.d, 2.0 * iterations * job.n * job.d * clusters


def _machine(device: str) -> str:
    """The device's name."""
    if device == "cuda":
        import torch  # noqa: PLC0415

        return str(torch.cuda.get_device_name())
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1] if name else os.uname().machine


def _on_cpu(size: int, side: int, threads: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A copy on `threads` threads, since a single core does not use the full bandwidth; a product on BLAS's threads."""
    rng = np.random.default_rng(0)
    source, target = np.ones(size // 4, dtype=np.float32), np.zeros(size // 4, dtype=np.float32)
    left, right = (rng.standard_normal((side, side), dtype=np.float32) for _ in range(2))
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    pool = ThreadPoolExecutor(threads, thread_name_prefix="copy")
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts)), lambda: left @ right


def _on_gpu(size: int, side: int, dtype: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import torch  # noqa: PLC0415

    source = torch.ones(size, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    left, right = (torch.randn(side, side, device="cuda").to(getattr(torch, dtype)) for _ in range(2))

    def synchronized(work: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            work()
            torch.cuda.synchronize()

        return run

    return synchronized(lambda: target.copy_(source)), synchronized(lambda: left @ right)


def _seconds(work: Callable[[], Any]) -> float:
    """Seconds of a call, averaged over a turn."""
    began_s, calls = time.perf_counter(), 0
    while (took_s := time.perf_counter() - began_s) < TURN_S:
        work()
        calls += 1
    return took_s / calls
