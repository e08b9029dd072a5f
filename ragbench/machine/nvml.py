"""The GPUs and their use, from the driver's own library (NVML). Without a driver everything is None."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import pynvml

from policies.devices import named

_MIB = 2**20


class Gpus:
    """The GPUs this process may use: those that CUDA_VISIBLE_DEVICES names, or all where it is unset.

    A slice of a GPU (MIG) reports its name and memory; its use, which is that of the whole GPU, is None.
    """

    def __init__(self, handles: Sequence[Any] = ()) -> None:
        """`handles` of the library, one a GPU."""
        self._handles = handles

    @classmethod
    def found(cls, environment: Mapping[str, str] = os.environ) -> "Gpus":
        """Load the library and find them; none where there is no driver."""
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return cls()
        opened = map(_opened, _chosen(environment))
        return cls(list(takewhile(lambda handle: handle is not None, opened)))  # as CUDA passes over the rest

    def __len__(self) -> int:
        return len(self._handles)

    def now(self) -> dict[str, float | None]:
        """The GPU fields of a Sample: the mean of `gpu_percent`, the sums of the others."""
        percent = self._each(lambda handle: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        return {
            "gpu_percent": None if percent is None else sum(percent) / len(percent),
            "gpu_memory_mib": self._sum(lambda handle: pynvml.nvmlDeviceGetMemoryInfo(handle).used / _MIB),
            "gpu_power_w": self._sum(lambda handle: pynvml.nvmlDeviceGetPowerUsage(handle) * 1e-3),
            "gpu_energy_j": self._sum(lambda handle: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3),
        }

    def about(self) -> dict[str, Any]:
        """The GPU fields of a Hardware: the clocks are the highest allowed, the power limit is the one in force."""
        names = Counter(map(_name, self._handles))
        return {
            "gpu": " + ".join(f"{n} x {name}" if n > 1 else name for name, n in names.items()) or None,
            "gpu_driver": _answer(pynvml.nvmlSystemGetDriverVersion) if self._handles else None,
            "gpu_sm_clock_mhz": self._clocks(pynvml.NVML_CLOCK_SM),
            "gpu_memory_clock_mhz": self._clocks(pynvml.NVML_CLOCK_MEM),
            "gpu_power_limit_w": self._each(lambda handle: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) * 1e-3),
        }

    @property
    def cuda(self) -> tuple[int, int] | None:
        """The newest CUDA (major, minor) that the driver runs; None: not known."""
        cuda = _answer(pynvml.nvmlSystemGetCudaDriverVersion_v2) if self._handles else None
        return None if cuda is None else (cuda // 1000, cuda % 1000 // 10)

    def _clocks(self, domain: int) -> tuple[float, ...] | None:
        return self._each(lambda handle: float(pynvml.nvmlDeviceGetMaxClockInfo(handle, domain)))

    def _each(self, read: Callable[[Any], float]) -> tuple[float, ...] | None:
        """A value per GPU; None without GPUs, or where one refuses."""
        values = tuple(_answer(partial(read, handle)) for handle in self._handles)
        return values if values and None not in values else None

    def _sum(self, read: Callable[[Any], float]) -> float | None:
        values = self._each(read)
        return None if values is None else sum(values)


def _answer(read: Callable[[], Any]) -> Any:
    """The driver's answer; None where it refuses."""
    try:
        return read()
    except (pynvml.NVMLError, UnicodeDecodeError):
        return None


def _chosen(environment: Mapping[str, str]) -> Sequence[int | str]:
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [int(name) if name.isdigit() else name for name in named(visible)]
    return range(_answer(pynvml.nvmlDeviceGetCount) or 0)


def _opened(which: int | str) -> Any:
    by = pynvml.nvmlDeviceGetHandleByIndex if isinstance(which, int) else pynvml.nvmlDeviceGetHandleByUUID
    return _answer(lambda: by(which))


def _name(handle: Any) -> str:
    name = _answer(lambda: pynvml.nvmlDeviceGetName(handle)) or "GPU"
    memory = _answer(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    return name if memory is None else f"{name}, {memory.total // _MIB} MiB"
