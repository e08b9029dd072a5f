"""The machine, GPU, SLURM job and versions of a point. What is not there is None or absent."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragbench.machine.cgroup import smallest_quota
from ragbench.machine.nvml import Gpus

_CPUS = Path("/sys/devices/system/cpu")
_CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_PACKAGES = (
    *("ragbench", "aiohttp", "numpy", "fastapi", "uvicorn", "pydantic"),
    *("torch", "transformers", "sentence-transformers", "tokenizers", "faiss-cpu", "cupy-cuda12x"),
)


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine. `cores`: usable by this process; `memory_gib`: all of it. None: not known.

    `governor`: of the clock of those cores; `load_average`: of the last minute; `open_files`: soft limit of this
    process; `cpu_quota_cores`: of its control group. GPU clocks are the highest allowed; one value a GPU.
    """

    cpu: str
    cores: int
    memory_gib: float
    gpu: str | None
    hostname: str
    python: str
    os: str
    governor: str | None = None
    clock_source: str | None = None
    load_average: float | None = None
    open_files: int | None = None
    cpu_quota_cores: float | None = None
    gpu_driver: str | None = None
    gpu_sm_clock_mhz: tuple[float, ...] | None = None
    gpu_memory_clock_mhz: tuple[float, ...] | None = None
    gpu_power_limit_w: tuple[float, ...] | None = None

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, {self.memory_gib:.0f} GiB, {self.gpu or 'no GPU'}"


def this_machine() -> Hardware:
    """Look at the machine this process runs on."""
    return Hardware(
        cpu=_cpu(),
        cores=usable_cores(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        hostname=platform.node(),
        python=platform.python_version(),
        os=f"{platform.system()} {platform.release()}",
        governor=governor(),
        clock_source=text_of(_CLOCKSOURCE),
        load_average=round(os.getloadavg()[0], 2),
        open_files=open_files(),
        cpu_quota_cores=None if (quota := smallest_quota()) is None else round(quota.cores, 3),
        **Gpus.found().about(),
    )


def own_cores() -> set[int]:
    """The numbers of the cores that this process may run on."""
    return set(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def usable_cores() -> int:
    """How many cores' worth of CPU this process may use: the affinity mask, and a container's quota if there is one."""
    cores, quota = len(own_cores()), smallest_quota()
    return cores if quota is None else max(1, min(cores, int(quota.cores)))


def governor(cpus: Path = _CPUS) -> str | None:
    """The clock governor of this process's cores, as in `performance`; None where it is hidden, as in most VMs."""
    names = (text_of(cpus / f"cpu{core}" / "cpufreq" / "scaling_governor") for core in own_cores())
    return " + ".join(sorted(set(filter(None, names)))) or None


def open_files() -> int | None:
    """How many files this process may have open; None where there is no bound."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def text_of(path: Path) -> str | None:
    """The text of a small file of the system; None where it is absent."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def slurm(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The SLURM job this process is part of, or None."""
    job = environment.get("SLURM_JOB_ID")
    if not job:
        return None
    restarts = environment.get("SLURM_RESTART_COUNT", "0")
    node = environment.get("SLURMD_NODENAME") or environment.get("SLURM_JOB_NODELIST")
    return {"job_id": job, "node": node, "restart_count": int(restarts) if restarts.isdigit() else 0}


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that matter to the figures, by name."""
    installed = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def _cpu() -> str:
    lines = (text_of(Path("/proc/cpuinfo")) or "").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    if model is None and sys.platform == "darwin":
        with suppress(OSError, subprocess.TimeoutExpired):
            argv = ["sysctl", "-n", "machdep.cpu.brand_string"]
            model = subprocess.run(
                argv, capture_output=True, encoding="utf-8", errors="replace", timeout=5, check=False
            ).stdout.strip()
    return model or platform.processor() or platform.machine()
