"""CPU quotas, in control groups made of files as the kernel shows them; once in a real one."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ragbench.machine.cgroup import Counters, Quota, smallest_quota
from tests.ragbench.running import ROOT

V2 = "31 23 0:28 {root} {top} rw,relatime - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 23 0:29 {root} {top} rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct"
OTHER = "33 23 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n34 23 0:31 / /proc rw - proc proc rw"


class Fake:
    """A process of /proc, and files of groups below `top`."""

    def __init__(self, folder: Path) -> None:
        self.process, self.top = folder / "self", folder / "cgroup"
        self.process.mkdir()
        self.top.mkdir()

    def made(self, *, mount: str, root: str = "/", member: str, files: Mapping[str, str]) -> Path:
        line = mount.format(root=root, top=self.top)
        (self.process / "mountinfo").write_text(f"{OTHER}\n{line}\n")
        (self.process / "cgroup").write_text(f"9:name=systemd:/\n4:memory:/elsewhere\n{member}\n")
        for name, text in files.items():
            (self.top / name).parent.mkdir(parents=True, exist_ok=True)
            (self.top / name).write_text(text)
        return self.process


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("200000 100000\n", 2.0),
        ("150000 100000\n", 1.5),
        ("25000 50000\n", 0.5),
        ("max 100000\n", None),
        ("", None),
        ("many few\n", None),
        ("100000 0\n", None),
    ],
)
def test_a_container_of_version_2_sees_its_group_as_the_root(fake: Fake, text: str, cores: float | None) -> None:
    found = smallest_quota(fake.made(mount=V2, member="0::/", files={"cpu.max": text}))
    assert (found and found.cores) == cores


@pytest.mark.parametrize(
    ("outer", "middle", "inner", "cores", "where"),
    [
        ("max 100000", "max 100000", "300000 100000", 3.0, "a/b/c"),
        ("max 100000", "100000 100000", "300000 100000", 1.0, "a/b"),
        ("50000 100000", "max 100000", "max 100000", 0.5, "a"),
        ("50000 100000", "200000 100000", "100000 100000", 0.5, "a"),
    ],
)
def test_of_nested_groups_the_smallest_quota_binds(
    fake: Fake, outer: str, middle: str, inner: str, cores: float, where: str
) -> None:
    files = {"a/cpu.max": outer, "a/b/cpu.max": middle, "a/b/c/cpu.max": inner, "a/z/cpu.max": "1000 100000"}
    assert smallest_quota(fake.made(mount=V2, member="0::/a/b/c", files=files)) == Quota(cores, fake.top / where)


@pytest.mark.parametrize(("quota", "cores"), [("250000", 2.5), ("-1", None)])
def test_a_container_of_version_1(fake: Fake, quota: str, cores: float | None) -> None:
    files = {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": "100000"}
    found = smallest_quota(fake.made(mount=V1, member="3:cpu,cpuacct:/", files=files))
    assert (found and found.cores) == cores


def test_nested_groups_of_version_1(fake: Fake) -> None:
    files = {
        "pod/cpu.cfs_quota_us": "100000",
        "pod/cpu.cfs_period_us": "100000",
        "pod/own/cpu.cfs_quota_us": "-1",
        "pod/own/cpu.cfs_period_us": "100000",
    }
    found = smallest_quota(fake.made(mount=V1, member="3:cpu,cpuacct:/pod/own", files=files))
    assert found == Quota(1.0, fake.top / "pod")


@pytest.mark.parametrize(("root", "member"), [("/docker/77", "/docker/77/x"), ("/", "/x"), ("/docker/77", "/../other")])
def test_a_container_that_sees_its_path_on_the_host(fake: Fake, root: str, member: str) -> None:
    """Its own group is mounted, while the path is told from the root of all groups."""
    files = {"cpu.max": "300000 100000", "x/cpu.max": "max 100000"}
    found = smallest_quota(fake.made(mount=V2, root=root, member=f"0::{member}", files=files))
    assert found == Quota(3.0, fake.top)


def test_where_nothing_is_told_there_is_no_quota(tmp_path: Path) -> None:
    assert smallest_quota(tmp_path / "nobody") is None
    assert smallest_quota(Fake(tmp_path).made(mount=V2, member="3:cpuset:/", files={"cpu.max": "1 1"})) is None


@pytest.mark.parametrize(
    ("files", "counters"),
    [
        ({"cpu.stat": "usage_usec 2500000\nnr_periods 40\nnr_throttled 10\n"}, Counters(2.5, 40, 10)),
        ({"cpu.stat": "nr_periods 4\nnr_throttled 1\n", "cpuacct.usage": "1500000000\n"}, Counters(1.5, 4, 1)),
        ({"cpu.stat": "nr_periods 4\nnr_throttled 1\n"}, Counters(None, 4, 1)),
        ({"cpu.stat": "usage_usec 5\n"}, None),
        ({}, None),
    ],
)
def test_what_a_group_has_used(tmp_path: Path, files: dict[str, str], counters: Counters | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert Quota(1.0, tmp_path).counters() == counters


@pytest.fixture
def real() -> Iterator[Path]:
    """A group with a quota of half a core, with another below it."""
    for top in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")):
        outer = top / f"ragbench-test-{os.getpid()}"
        try:
            (outer / "inner").mkdir(parents=True)
        except OSError:
            continue
        try:
            if (outer / "cpu.cfs_quota_us").exists():
                (outer / "cpu.cfs_quota_us").write_text("50000")
            elif (outer / "cpu.max").exists():
                (outer / "cpu.max").write_text("50000 100000")
            else:
                continue
            yield outer / "inner"
            return
        finally:
            (outer / "inner").rmdir()
            outer.rmdir()
    pytest.skip("control groups with quotas cannot be made here")


def test_a_real_group(real: Path) -> None:
    code = "from ragbench.machine.cgroup import smallest_quota as s; q = s(); print(q.cores, q.counters().periods >= 0)"
    join = f"echo $$ > {real}/cgroup.procs && exec {sys.executable} -c '{code}'"
    done = subprocess.run(["sh", "-c", join], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "0.5 True\n", done.stderr
