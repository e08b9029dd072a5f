"""Whether this environment can give trustworthy figures: the judgement of each check, and what to do.

Pure; environment.py looks things up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ragbench.statistics.verdicts import LATE_S, OTHER_CORES, OTHER_SHARE

Status = Literal["ok", "warn", "fail"]

PORTS = (*range(8000, 8011), 9000)  # where servers listen when nobody says otherwise
TESTED_PYTHON = (3, 11)
LEAST_FILES, AMPLE_FILES = 1024, 4096
LEAST_DISK_GIB, AMPLE_DISK_GIB = 1.0, 5.0
LEAST_MEMORY_GIB, AMPLE_MEMORY_GIB = 0.5, 2.0
SWAPPED_GIB = 0.25
HOPELESS_S = 0.01
FAST_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `advice`: what to do about it, where there is something to do."""

    name: str
    status: Status
    seen: str
    advice: str = ""


def python(version: tuple[int, int]) -> Finding:
    """The interpreter against the one that the versions were tested with."""
    seen, wanted = (".".join(map(str, v)) for v in (version, TESTED_PYTHON))
    if version < TESTED_PYTHON:
        return Finding("python", "fail", seen, f"use Python {wanted} or newer: scripts/setup.sh makes a venv with it")
    if version > TESTED_PYTHON:
        return Finding("python", "warn", seen, f"figures in the docs are from Python {wanted}; say so beside yours")
    return Finding("python", "ok", seen)


def packages(installed: Mapping[str, str | None], tested: Mapping[str, str]) -> Finding:
    """What ragbench depends on (None: absent) against constraints.txt. A local suffix (+cpu) is no difference."""
    absent = sorted(name for name, version in installed.items() if version is None)
    if absent:
        return Finding("packages", "fail", f"absent: {', '.join(absent)}", "run scripts/setup.sh")
    if not installed:
        return Finding("packages", "fail", "ragbench is not installed", "run scripts/setup.sh, or pip install -e .")
    if not tested:
        return Finding(
            "packages", "warn", f"{len(installed)} present", "no constraints.txt beside ragbench: not compared"
        )
    other = [
        f"{name} {version} (tested: {tested[name]})"
        for name, version in sorted(installed.items())
        if version is not None and name in tested and version.partition("+")[0] != tested[name]
    ]
    if other:
        advice = "pip install -c constraints.txt -e . brings the versions that were tested together"
        return Finding("packages", "warn", "; ".join(other), advice)
    return Finding("packages", "ok", f"{len(installed)} as in constraints.txt")


def gpu(
    *, names: str | None, driver: str | None, driver_cuda: tuple[int, int] | None, torch_cuda: tuple[int, int] | None
) -> Finding:
    """GPU, its driver, and whether torch can use them. `torch_cuda`: what torch was built for, None for the CPU."""
    if names is None:
        seen = "none" if torch_cuda is None else f"none; torch is built for CUDA {_dotted(torch_cuda)}"
        return Finding("gpu", "ok", f"{seen}: models run on the CPU")
    if driver is None:
        advice = "nvidia-smi says more; a container needs the driver's libraries of its host"
        return Finding("gpu", "fail", f"{names}, but the driver's library does not answer", advice)
    seen = f"{names}, driver {driver}, CUDA up to {_dotted(driver_cuda)}"
    if torch_cuda is None:
        advice = "torch is built for the CPU alone: install one for CUDA, see https://pytorch.org/get-started/locally/"
        return Finding("gpu", "warn", seen, advice)
    seen += f"; torch for {_dotted(torch_cuda)}"
    # Within a major version, CUDA's newer minor releases run on older drivers.
    if driver_cuda is not None and driver_cuda[0] < torch_cuda[0]:
        return Finding("gpu", "fail", seen, f"torch needs a driver for CUDA {torch_cuda[0]}, or install an older torch")
    return Finding("gpu", "ok", seen)


def cores(n: int, *, load_average: float) -> Finding:
    """Cores to share between client and server, and how busy the last minute was."""
    seen = f"{n}, load average {load_average:.2f}"
    if n < 2:
        return Finding("cores", "warn", seen, "client and server share one core: expect client_limited points")
    if load_average > _allowed(n):
        return Finding("cores", "warn", seen, "was busy: wait until it is idle, or its points are contaminated")
    return Finding("cores", "ok", seen)


def governor(name: str | None) -> Finding:
    """What sets the clock of the cores."""
    if name is None:
        return Finding("governor", "ok", "not visible (as in most virtual machines)")
    if name != "performance":
        advice = "the clock follows the load: sudo cpupower frequency-set -g performance"
        return Finding("governor", "warn", name, advice)
    return Finding("governor", "ok", name)


def open_files(soft: int | None, *, hard: int | None) -> Finding:
    """Files that may be open: an overloaded open loop has one connection per request in flight. None: no bound."""
    seen = f"{soft or 'any'} now, up to {hard or 'any'}"
    if hard is not None and hard < AMPLE_FILES:
        advice = f"sudo prlimit --pid $$ --nofile={AMPLE_FILES * 4}:{AMPLE_FILES * 4}, then again in that shell"
        return Finding("open files", "fail" if hard < LEAST_FILES else "warn", seen, advice)
    return Finding("open files", "ok", f"{seen} (ragbench raises it itself)")


def ports(taken: Sequence[int]) -> Finding:
    """Those of PORTS on which something listens. Studies take any free port, servers started by hand these."""
    if not taken:
        return Finding("ports", "ok", f"{PORTS[0]}-{PORTS[-2]} and {PORTS[-1]} are free")
    listed = ", ".join(map(str, taken))
    return Finding("ports", "warn", f"taken: {listed}", "`ss -ltnp` names the program; or give servers another --port")


def disk(free_gib: float, *, folder: str) -> Finding:
    """Room for results."""
    seen = f"{free_gib:.1f} GiB free for {folder}"
    if free_gib < AMPLE_DISK_GIB:
        advice = "make room, or give another folder with --results"
        return Finding("disk", "fail" if free_gib < LEAST_DISK_GIB else "warn", seen, advice)
    return Finding("disk", "ok", seen)


def memory(available_gib: float, *, swapped_gib: float) -> Finding:
    """Memory for models, and whether the machine swaps."""
    seen = f"{available_gib:.1f} GiB available, {swapped_gib:.1f} GiB swapped out"
    if available_gib < AMPLE_MEMORY_GIB:
        status: Status = "fail" if available_gib < LEAST_MEMORY_GIB else "warn"
        return Finding("memory", status, seen, "end other programs: models and replicas need it")
    if swapped_gib > SWAPPED_GIB:
        return Finding("memory", "warn", seen, "swapping shows as latency: sudo swapoff -a && sudo swapon -a")
    return Finding("memory", "ok", seen)


def models(shipped: Mapping[str, bool], *, cached: Sequence[str]) -> Finding:
    """The files of the tiny profile (whole or not), and the models in the Hugging Face cache."""
    broken = sorted(name for name, is_whole in shipped.items() if not is_whole)
    seen = f"tiny {'whole' if not broken else 'lacks ' + ', '.join(broken)}; cached: {', '.join(cached) or 'none'}"
    if broken:
        return Finding("models", "fail", seen, "the checkout is not whole: git checkout -- servers/rag/tiny")
    return Finding("models", "ok", seen if cached else f"{seen} (other profiles download theirs first)")


def timer(late_p95_s: float) -> Finding:
    """How late a wait of 1 ms ends on the harness's event loop: no send can be more punctual."""
    seen = f"a wait of 1 ms ends {late_p95_s * 1000:.2f} ms late or more, one time in twenty"
    if late_p95_s > LATE_S:
        advice = f"sends would be later than the {LATE_S * 1000:g} ms a valid point allows: free the cores, then again"
        return Finding("timer", "fail" if late_p95_s > HOPELESS_S else "warn", seen, advice)
    return Finding("timer", "ok", seen)


def clock(source: str | None) -> Finding:
    """The kernel's clock: a slow one costs microseconds at each look."""
    if source is None or source in FAST_CLOCKS:
        return Finding("clock", "ok", source or "not visible")
    return Finding("clock", "warn", source, "slow to read; /sys/devices/system/clocksource lists faster ones")


def others(used: Mapping[str, float], *, cores: int) -> Finding:
    """Cores' worth of CPU that each other program used over a second."""
    total = sum(used.values())
    heavy = [f"{name} {n:.2f}" for name, n in sorted(used.items(), key=lambda item: -item[1]) if n >= 0.05][:5]
    seen = f"{total:.2f} cores" + (f": {', '.join(heavy)}" if heavy else "")
    if total > _allowed(cores):
        advice = f"end them: above {_allowed(cores):g} cores, points are contaminated"
        return Finding("other programs", "warn", seen, advice)
    return Finding("other programs", "ok", seen)


def _allowed(n: int) -> float:
    """By the rule of `contaminated`."""
    return max(OTHER_CORES, OTHER_SHARE * n)


def _dotted(version: tuple[int, int] | None) -> str:
    return "unknown" if version is None else f"{version[0]}.{version[1]}"
