"""The CPU quota of this process's control group, of versions 1 and 2, and the group's use of it.

A quota binds all groups below its own, so the smallest one on the way up to the root counts. Source: cgroup-v2.rst and
cgroup-v1/ in the kernel's documentation, sched-bwc.rst; cgroups(7); mountinfo in proc(5).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SELF = Path("/proc/self")
_V1 = "cpu"


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals of a group; `used_s` None: not reported. `throttled` of its quota's `periods` ended with it used up."""

    used_s: float | None
    periods: int
    throttled: int


@dataclass(frozen=True, slots=True)
class Quota:
    """`cores` cores' worth of CPU for all processes in the group at `folder` together."""

    cores: float
    folder: Path

    def counters(self) -> Counters | None:
        """Its counters now; None where the group reports none."""
        words = _words(self.folder / "cpu.stat")
        stat = {name: int(value) for name, value in zip(words[::2], words[1::2], strict=False) if value.isdigit()}
        if "nr_periods" not in stat:
            return None
        # Version 1 keeps it in a hierarchy that most systems mount at the same place.
        used_v1 = [int(word) / 1e9 for word in _words(self.folder / "cpuacct.usage") if word.isdigit()]
        used_s = stat["usage_usec"] / 1e6 if "usage_usec" in stat else next(iter(used_v1), None)
        return Counters(used_s, stat["nr_periods"], stat.get("nr_throttled", 0))


def smallest_quota(process: Path = _SELF) -> Quota | None:
    """The quota that binds the process of that folder of /proc; None where there is none."""
    quotas = [
        Quota(cores, folder)
        for files, top, own in _hierarchies(process)
        for folder in (own, *own.parents)
        if (folder == own or folder.is_relative_to(top)) and (cores := _cores(folder, files)) is not None
    ]
    return min(quotas, key=lambda quota: quota.cores, default=None)


def _hierarchies(process: Path) -> Iterator[tuple[tuple[str, ...], Path, Path]]:
    """(files with quota and period, mount, the process's folder in it) of each that can hold a CPU quota."""
    try:
        mounts = (process / "mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        groups = (process / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    # Lines such as `4:cpu,cpuacct:/a`; version 2 has no controllers: `0::/a`.
    lines = (line.partition(":")[2].partition(":") for line in groups)
    paths = {controller: path for controllers, _, path in lines for controller in controllers.split(",")}
    for line in mounts:
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")[:3]
        root, top = before.split(" ")[3:5]
        if kind == "cgroup2" and "" in paths:
            yield ("cpu.max",), Path(top), _own(Path(top), root, paths[""])
        elif kind == "cgroup" and _V1 in options.split(",") and _V1 in paths:
            yield ("cpu.cfs_quota_us", "cpu.cfs_period_us"), Path(top), _own(Path(top), root, paths[_V1])


def _own(top: Path, root: str, path: str) -> Path:
    """The folder of the group at `path`, below `top`, at which the folder `root` of all groups is mounted."""
    inside = os.path.relpath(path, root)
    return top if inside == "." or inside.startswith("..") else top / inside


def _cores(folder: Path, files: tuple[str, ...]) -> float | None:
    """Quota over period; None for `max`, -1 or no such files."""
    words = [word for name in files for word in _words(folder / name)]
    if len(words) != 2 or not all(word.isdigit() for word in words) or not int(words[1]):
        return None
    return int(words[0]) / int(words[1])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []
