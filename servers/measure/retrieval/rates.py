"""What a device copies and multiplies in a second: the roofs that a search runs under. Searches nothing.

Source: Williams, Waterman and Patterson, Roofline, CACM 52(4), 2009.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

__all__ = ["SETTLED_S", "TURN_S", "Rates", "machine"]

SETTLED_S = 0.05  # after which the threads of the library before no longer spin in wait of more work
TURN_S = 0.1  # what is timed goes on for so long at least, over as many calls as it takes

_COPY_BYTES = {"cpu": 1 << 26, "cuda": 1 << 30}
_SIDE = {"cpu": 1024, "cuda": 8192}


def machine(device: str) -> str:
    """The device's name."""
    if device == "cuda":
        import torch  # noqa: PLC0415

        return str(torch.cuda.get_device_name())
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return os.uname().machine


@dataclass(slots=True)
class Rates:
    """Copies and products, timed whenever `turn` is called, so that a drift of the machine meets a search and them."""

    device: str
    threads: int
    dtype: str = "float32"
    _copy: Callable[[], Any] = field(init=False)
    _product: Callable[[], Any] = field(init=False)
    _copy_s: list[float] = field(default_factory=list)
    _product_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        size, side = _COPY_BYTES[self.device], _SIDE[self.device]
        made = _on_cpu(size, side, self.threads) if self.device == "cpu" else _on_gpu(size, side, self.dtype)
        self._copy, self._product = made
        self.turn()
        self._copy_s.clear()
        self._product_s.clear()

    def turn(self) -> None:
        """Time both again, as a search is timed."""
        time.sleep(SETTLED_S)
        self._copy_s.append(_timed(self._copy))
        self._product_s.append(_timed(self._product))

    @property
    def bytes_per_s(self) -> float:
        """Read and written by a copy."""
        return 2 * _COPY_BYTES[self.device] / median(self._copy_s)

    @property
    def flops_per_s(self) -> float:
        """Of a product of square matrices."""
        return 2 * _SIDE[self.device] ** 3 / median(self._product_s)

    def as_dict(self) -> dict[str, Any]:
        """What `--rates` tells."""
        return {
            "device": self.device,
            "name": machine(self.device),
            "threads": self.threads if self.device == "cpu" else None,
            "copy_gb_per_s": round(self.bytes_per_s / 1e9, 2),
            "matmul_gflop_per_s": {self.dtype: round(self.flops_per_s / 1e9, 1)},
        }


def _on_cpu(size: int, side: int, threads: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Copies on so many threads, for one core alone does not fill the memory's bandwidth; products on BLAS's own."""
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

    def synced(work: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            work()
            torch.cuda.synchronize()

        return run

    return synced(lambda: target.copy_(source)), synced(lambda: left @ right)


def _timed(work: Callable[[], Any]) -> float:
    """Seconds of one call, over as many as go into a turn."""
    began_s, calls = time.perf_counter(), 0
    while (took_s := time.perf_counter() - began_s) < TURN_S:
        work()
        calls += 1
    return took_s / calls


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readlines()
    except OSError:
        return []
