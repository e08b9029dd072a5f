"""What the GPUs do and are, as the driver's own library (NVML) tells it. Without one, everything is None.

Called through ctypes: the library comes with the driver, so there is nothing to install.
"""

import ctypes
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_uint, c_ulonglong, c_void_p, create_string_buffer
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from policies.devices import named

_CLOCK_SM, _CLOCK_MEM = 1, 2
_MIB = 2**20


class _Utilization(ctypes.Structure):
    _fields_ = [("gpu", c_uint), ("memory", c_uint)]


class _Memory(ctypes.Structure):
    _fields_ = [("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong)]


class Gpus:
    """The GPUs this process may use: those that CUDA_VISIBLE_DEVICES names, or all where it is unset.

    A slice of a GPU (MIG) tells its name and its memory, and leaves what the whole GPU does, and others with it, None.
    """

    def __init__(self, library: Any, handles: Sequence[c_void_p]) -> None:
        self._library = library
        self._handles = handles

    @classmethod
    def found(cls, environment: Mapping[str, str] = os.environ) -> "Gpus":
        """Load the library and find them; none where there is no driver."""
        try:
            library = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return cls(None, ())
        if library.nvmlInit_v2() != 0:
            return cls(None, ())
        opened = map(_opener(library), _chosen(library, environment))
        handles: Iterable[Any] = takewhile(lambda handle: handle is not None, opened)  # as CUDA passes over the rest
        return cls(library, list(handles))

    def __len__(self) -> int:
        return len(self._handles)

    def now(self) -> dict[str, float | None]:
        """The GPU fields of a Sample: the mean of `gpu_percent`, the sums of the others."""
        percent = self._each(self._percent)
        return {
            "gpu_percent": None if percent is None else sum(percent) / len(percent),
            "gpu_memory_mib": _sum(self._each(self._memory_mib)),
            "gpu_power_w": _sum(self._each(self._number("nvmlDeviceGetPowerUsage", c_uint, 1e-3))),
            "gpu_energy_j": _sum(self._each(self._number("nvmlDeviceGetTotalEnergyConsumption", c_ulonglong, 1e-3))),
        }

    def about(self) -> "About":
        """What the manifest tells of them."""
        version, cuda = create_string_buffer(96), c_int()
        told = bool(self._handles) and self._library.nvmlSystemGetDriverVersion(version, c_uint(96)) == 0
        has_cuda = told and self._library.nvmlSystemGetCudaDriverVersion_v2(byref(cuda)) == 0
        return About(
            driver=version.value.decode() if told else None,
            cuda=(cuda.value // 1000, cuda.value % 1000 // 10) if has_cuda else None,
            names=None if self._library is None else tuple(map(self._name, self._handles)),
            sm_clock_mhz=self._clocks(_CLOCK_SM),
            memory_clock_mhz=self._clocks(_CLOCK_MEM),
            power_limit_w=self._each(self._number("nvmlDeviceGetEnforcedPowerLimit", c_uint, 1e-3)),
        )

    def _name(self, handle: c_void_p) -> str:
        name, memory = create_string_buffer(96), _Memory()
        has_name = self._library.nvmlDeviceGetName(handle, name, c_uint(96)) == 0
        told = name.value.decode(errors="replace") if has_name else "GPU"
        has_memory = self._library.nvmlDeviceGetMemoryInfo(handle, byref(memory)) == 0
        return f"{told}, {memory.total // _MIB} MiB" if has_memory else told

    def _clocks(self, domain: int) -> tuple[float, ...] | None:
        def read(handle: c_void_p) -> float | None:
            value = c_uint()
            code = self._library.nvmlDeviceGetMaxClockInfo(handle, c_uint(domain), byref(value))
            return float(value.value) if code == 0 else None

        return self._each(read)

    def _each(self, read: Callable[[c_void_p], float | None]) -> tuple[float, ...] | None:
        """A value per GPU; None where one of them does not tell, or there is none."""
        values = tuple(value for value in map(read, self._handles) if value is not None)
        return values if values and len(values) == len(self._handles) else None

    def _number(self, function: str, kind: Any, factor: float) -> Callable[[c_void_p], float | None]:
        def read(handle: c_void_p) -> float | None:
            value = kind()
            return value.value * factor if getattr(self._library, function)(handle, byref(value)) == 0 else None

        return read

    def _percent(self, handle: c_void_p) -> float | None:
        value = _Utilization()
        return float(value.gpu) if self._library.nvmlDeviceGetUtilizationRates(handle, byref(value)) == 0 else None

    def _memory_mib(self, handle: c_void_p) -> float | None:
        value = _Memory()
        return value.used / _MIB if self._library.nvmlDeviceGetMemoryInfo(handle, byref(value)) == 0 else None


@dataclass(frozen=True, slots=True)
class About:
    """Driver version, and the newest CUDA (major, minor) it runs; a value per GPU of the rest. None: not told.

    Clocks are the highest allowed, the power limit is the one in force; a name is `NVIDIA L4, 23034 MiB`.
    """

    driver: str | None = None
    cuda: tuple[int, int] | None = None
    names: tuple[str, ...] | None = None
    sm_clock_mhz: tuple[float, ...] | None = None
    memory_clock_mhz: tuple[float, ...] | None = None
    power_limit_w: tuple[float, ...] | None = None


def _chosen(library: Any, environment: Mapping[str, str]) -> Sequence[int | str]:
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [int(name) if name.isdigit() else name for name in named(visible)]
    count = c_uint()
    return range(count.value) if library.nvmlDeviceGetCount_v2(byref(count)) == 0 else ()


def _opener(library: Any) -> Callable[[int | str], c_void_p | None]:
    library.nvmlDeviceGetHandleByIndex_v2.argtypes = [c_uint, POINTER(c_void_p)]
    library.nvmlDeviceGetHandleByUUID.argtypes = [c_char_p, POINTER(c_void_p)]

    def handle(which: int | str) -> c_void_p | None:
        opened = c_void_p()
        code = (
            library.nvmlDeviceGetHandleByIndex_v2(which, byref(opened))
            if isinstance(which, int)
            else library.nvmlDeviceGetHandleByUUID(which.encode(), byref(opened))
        )
        return opened if code == 0 else None

    return handle


def _sum(values: tuple[float, ...] | None) -> float | None:
    return None if values is None else sum(values)
