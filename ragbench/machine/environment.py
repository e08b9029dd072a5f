"""The observations of `ragbench doctor` on this machine. doctor.py judges them."""

import asyncio
import importlib.metadata
import os
import re
import resource
import shutil
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil

from ragbench.machine import doctor
from ragbench.machine.doctor import Finding
from ragbench.machine.hardware import governor, open_files, this_machine, usable_cores
from ragbench.machine.nvml import Gpus
from ragbench.processes.loop import loop_factory
from ragbench.results.paths import PACKAGE

_GIB = 2**30
_WAITS, _WAIT_S = 200, 0.001
_WATCHED_S = 1.0
_TINY = PACKAGE.parent / "servers" / "rag" / "tiny"
_WEIGHTS = ("embedder/model.safetensors", "reader/model.safetensors")
_CUDA_RUNTIMES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12")


def checks(results: Path) -> Sequence[Callable[[], Finding]]:
    """The checks, in the order in which they are shown. Those that watch the machine for a while come last."""
    machine = this_machine()
    return (
        lambda: doctor.python((sys.version_info.major, sys.version_info.minor)),
        lambda: doctor.packages(installed(), pinned()),
        lambda: doctor.gpu(
            names=machine.gpu, driver=machine.gpu_driver, driver_cuda=Gpus.found().cuda, torch_cuda=torch_cuda()
        ),
        lambda: doctor.models(shipped(), cached=cached_models(os.environ)),
        lambda: doctor.cores(usable_cores(), load_average=os.getloadavg()[0]),
        lambda: doctor.governor(governor()),
        lambda: doctor.memory(psutil.virtual_memory().available / _GIB, swapped_gib=psutil.swap_memory().used / _GIB),
        lambda: doctor.disk(free_gib(results), folder=str(results)),
        lambda: doctor.open_files(open_files(), hard=most_files()),
        lambda: doctor.ports([port for port in doctor.PORTS if is_taken(port)]),
        lambda: doctor.clock(machine.clock_source),
        lambda: doctor.timer(timer_late_p95_s()),
        lambda: doctor.others(used_by_others(), cores=usable_cores()),
    )


def installed() -> dict[str, str | None]:
    """What ragbench needs, and the version that is there."""
    try:
        wanted = importlib.metadata.requires("ragbench") or []
    except importlib.metadata.PackageNotFoundError:
        wanted = []
    return {name: _version(name) for name in sorted(_plain(line) for line in wanted if "extra ==" not in line)}


def pinned(constraints: Path = PACKAGE.parent / "constraints.txt") -> dict[str, str]:
    """The versions in constraints.txt; none where it is not there."""
    if not constraints.is_file():
        return {}
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("==") for line in lines if not line.startswith("#"))
    return {_plain(name): version.strip() for name, _, version in pairs if version}


def _plain(requirement: str) -> str:
    """The name in `Uvicorn[standard]>=0.34`, as package indexes compare names."""
    name = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", name.group() if name else "").lower()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def torch_cuda(version: Callable[[str], str | None] = _version) -> tuple[int, int] | None:
    """The CUDA that torch is built for: by its local version (+cu128), or by the runtime that came with it."""
    local = re.search(r"\+cu(\d+)(\d)$", version("torch") or "")
    if local:
        return int(local[1]), int(local[2])
    if "+" in (version("torch") or "+"):
        return None
    runtime = next(filter(None, map(version, _CUDA_RUNTIMES)), None)
    return None if runtime is None else (int(runtime.split(".")[0]), int(runtime.split(".")[1]))


def shipped(folder: Path = _TINY) -> dict[str, bool]:
    """The weights of the tiny profile: there, and not a pointer that git-lfs left."""
    return {name: (folder / name).is_file() and (folder / name).stat().st_size > 1000 for name in _WEIGHTS}


def cached_models(environment: Mapping[str, str]) -> list[str]:
    """The models in the Hugging Face cache, as in `facebook/opt-125m`."""
    home = environment.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    cache = Path(environment.get("HF_HUB_CACHE") or Path(home) / "hub")
    return sorted(path.name.removeprefix("models--").replace("--", "/") for path in cache.glob("models--*"))


def free_gib(folder: Path) -> float:
    """Free space where `folder` is, or will be."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free / _GIB


def most_files() -> int | None:
    """How many open files this process may allow itself; None where there is no bound."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def is_taken(port: int) -> bool:
    """Whether something listens on `port` of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def timer_late_p95_s() -> float:
    """How late 1 ms waits end on the harness's own kind of event loop."""

    async def wait() -> list[float]:
        clock, late_s = asyncio.get_running_loop().time, []
        for _ in range(_WAITS):
            due_s = clock() + _WAIT_S
            await asyncio.sleep(_WAIT_S)
            late_s.append(clock() - due_s)
        return late_s

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return float(np.percentile(runner.run(wait()), 95))


def used_by_others(watched_s: float = _WATCHED_S) -> dict[str, float]:
    """Cores' worth of CPU that each other program uses now, by its name."""
    list(psutil.process_iter(["cpu_percent"]))  # which psutil counts from the last look at a process
    time.sleep(watched_s)
    used: defaultdict[str, float] = defaultdict(float)
    for process in psutil.process_iter(["name", "cpu_percent"]):
        if process.pid != os.getpid() and process.info["cpu_percent"]:
            used[process.info["name"] or str(process.pid)] += process.info["cpu_percent"] / 100
    return used
