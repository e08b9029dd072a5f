"""The CPU quota of the control group this process is in, of versions 1 and 2, and what the group has used of it.

A quota binds all groups below its own, so the smallest one on the way up to the root is the one that counts. Source:
cgroup-v2.rst and cgroup-v1/ in the kernel's documentation, sched-bwc.rst; cgroups(7); mountinfo in proc(5).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SELF = Path("/proc/self")
_V1 = "cpu"


@dataclass(frozen=True, slots=True)
class Counters:
    """What a group has used in all; None: not told. `throttled` of its quota's `periods` ended with it used up."""

    used_s: float | None
    periods: int
    throttled: int


@dataclass(frozen=True, slots=True)
class Quota:
    """`cores` cores' worth of CPU for all processes in the group at `folder` together."""

    cores: float
    folder: Path

    def counters(self) -> Counters | None:
        """Its counters now; None where the group does not tell."""
        told = _pairs(self.folder / "cpu.stat")
        if "nr_periods" not in told:
            return None
        used_s = told["usage_usec"] / 1e6 if "usage_usec" in told else _used_v1_s(self.folder)
        return Counters(used_s, told["nr_periods"], told.get("nr_throttled", 0))


def smallest_quota(process: Path = _SELF) -> Quota | None:
    """The quota that binds the process of that folder of /proc; None where there is none."""
    quotas = [
        Quota(cores, folder)
        for is_v1, top, own in _hierarchies(process)
        for folder in _up(own, top)
        if (cores := _cores_v1(folder) if is_v1 else _cores_v2(folder)) is not None
    ]
    return min(quotas, key=lambda quota: quota.cores, default=None)


def _hierarchies(process: Path) -> Iterator[tuple[bool, Path, Path]]:
    """(is version 1, where it is mounted, the process's own folder in it) of each that can hold a CPU quota."""
    try:
        mounts = (process / "mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        groups = (process / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    paths = {
        controller: path for controllers, path in map(_membership, groups) for controller in controllers.split(",")
    }
    for line in mounts:
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")[:3]
        root, top = before.split(" ")[3:5]
        if kind == "cgroup2" and "" in paths:
            yield False, Path(top), _own(Path(top), root, paths[""])
        elif kind == "cgroup" and _V1 in options.split(",") and _V1 in paths:
            yield True, Path(top), _own(Path(top), root, paths[_V1])


def _membership(line: str) -> tuple[str, str]:
    """(controllers, path) of a line such as `4:cpu,cpuacct:/a`; version 2 has none: `0::/a`."""
    _, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    return controllers, path


def _own(top: Path, root: str, path: str) -> Path:
    """Where the group at `path` lies below `top`, at which the folder `root` of all groups is mounted."""
    inside = os.path.relpath(path, root)
    return top if inside == "." or inside.startswith("..") else top / inside


def _up(own: Path, top: Path) -> Iterator[Path]:
    yield own
    if own != top:
        yield from (folder for folder in own.parents if folder == top or top in folder.parents)


def _cores_v2(folder: Path) -> float | None:
    words = _words(folder / "cpu.max")
    return None if len(words) != 2 or words[0] == "max" else _ratio(*words)


def _cores_v1(folder: Path) -> float | None:
    """A quota of -1 is none."""
    words = [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
    return _ratio(*words) if len(words) == 2 else None


def _ratio(quota: str, period: str) -> float | None:
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return None
    return int(quota) / int(period)


def _used_v1_s(folder: Path) -> float | None:
    """Version 1 keeps it in a hierarchy that most systems mount at the same place."""
    words = _words(folder / "cpuacct.usage")
    return int(words[0]) / 1e9 if len(words) == 1 and words[0].isdigit() else None


def _pairs(path: Path) -> dict[str, int]:
    words = _words(path)
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=False) if value.isdigit()}


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []
