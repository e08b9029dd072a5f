import asyncio
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from ragbench.machine import nvml, telemetry
from ragbench.machine.cgroup import Counters, Quota
from ragbench.machine.nvml import Gpus
from ragbench.machine.telemetry import Account, Meter, busy_s, harmful, throttling, watch
from ragbench.results.records import TELEMETRY, Sample, load_summary
from tests.ragbench.running import ragbench, write_study

BURN = "import time\nwhile time.process_time() < {s}: pass\n"


class Process:
    """What the account asks of a psutil.Process."""

    def __init__(self, pid, *, own=0.0, reaped=0.0, parent=1):
        self.pid, self.own, self.reaped, self.parent, self.is_gone = pid, own, reaped, parent, False

    @contextmanager
    def oneshot(self):
        yield

    def cpu_times(self):
        if self.is_gone:
            raise psutil.NoSuchProcess(self.pid)
        half = self.own / 2
        return SimpleNamespace(
            user=half, system=half, children_user=self.reaped / 4, children_system=0.75 * self.reaped
        )

    def ppid(self):
        return self.parent


def test_what_was_used_before_the_first_look_is_not_in_it():
    client, server = Process(1, own=50), Process(2, own=70)
    families = {"client": {client}, "server": {server}}
    account = Account()
    account.book(families)
    client.own, server.own = 51, 73
    assert account.book(families) == {"client": 1, "server": 3}


def test_a_process_that_joins_brings_all_it_has_used():
    server = Process(2, own=70)
    account = Account()
    account.book({"client": set(), "server": {server}})
    used_s = account.book({"client": set(), "server": {server, Process(3, own=0.5, parent=2)}})
    assert used_s["server"] == 0.5


def test_a_child_that_was_reaped_counts_once_and_in_its_own_family():
    """The client is the server's parent, so the server's time becomes its children's time."""
    client, server = Process(1, own=10, reaped=5), Process(2, own=0, reaped=2, parent=1)
    families = {"client": {client}, "server": {server}}
    account = Account()
    account.book(families)
    server.own = 4
    assert account.book(families) == {"client": 0, "server": 4}
    server.is_gone, client.reaped = True, 5 + 4 + 2
    assert account.book(families) == account.book(families) == {"client": 0, "server": 0}


def test_a_child_that_came_and_went_unseen_is_its_parents():
    server = Process(2)
    account = Account()
    account.book({"client": set(), "server": {server}})
    server.reaped = 0.25
    assert account.book({"client": set(), "server": {server}})["server"] == 0.25


def test_the_cpu_of_a_real_process_is_what_it_says_itself():
    with subprocess.Popen([sys.executable, "-c", BURN.format(s=0.4)], stdin=subprocess.PIPE) as burner:
        account, used_s = Account(), 0.0
        members = {psutil.Process(burner.pid)}
        while burner.poll() is None:
            used_s += account.book({"client": set(), "server": members})["server"]
    assert used_s == pytest.approx(0.4, abs=0.1)


def test_a_server_that_is_a_child_of_the_client_is_the_server():
    then_wait = BURN.format(s=0.3) + "print(flush=True)\ninput()\n"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", then_wait], stdin=pipe, stdout=pipe) as server:
        times = iter([0.0, 0.0, 1.0, 1.0])
        meter = Meter(lambda: {psutil.Process(server.pid)})
        meter.sample(lambda: next(times))
        server.stdout.readline()
        sample = meter.sample(lambda: next(times))
        server.communicate(b"\n", timeout=10)
    assert sample.server_cpu_cores == pytest.approx(0.3, abs=0.1)
    assert sample.client_cpu_cores < 0.15


@pytest.mark.timing
def test_a_process_of_nobody_is_other():
    """Started by a shell that has ended, it is no child of this process. It ends itself."""
    meter = Meter(None)
    clock = asyncio.new_event_loop()
    try:
        meter.sample(clock.time)
        before = meter.t_s
        script = BURN.format(s=0.5).replace("\n", "\\n")
        orphan = f"exec 1>&-; {sys.executable} -c \"exec('{script}')\" &"
        subprocess.run(["sh", "-c", orphan], check=True, timeout=10)
        while clock.time() < before + 0.6:
            busy_s()
        sample = meter.sample(clock.time)
    finally:
        clock.close()
    assert sample.server_cpu_cores is None
    assert sample.client_cpu_cores > 0.2
    assert sample.other_cpu_cores > 0.2
    assert sample.other_cpu_cores + sample.client_cpu_cores <= len(telemetry.own_cores()) + 0.2


def test_a_machine_that_is_never_busy_is_not_believed(monkeypatch):
    monkeypatch.setattr(telemetry, "busy_s", lambda: 0.0)
    times = iter(range(100))
    meter = Meter(None)
    meter.sample(lambda: next(times))
    assert meter.sample(lambda: next(times)).other_cpu_cores is None


@pytest.mark.parametrize(
    ("others", "inside", "mask", "quota", "harm"),
    [
        (10.0, 0.0, 64, 2.0, 0.0),  # other containers of a large machine, which has cores left for us
        (10.0, None, 64, 2.0, 0.0),
        (63.0, 0.0, 64, 2.0, 1.0),  # they leave one core where our quota is two
        (10.0, 0.7, 64, 2.0, 0.7),  # in our own container: they take from the quota
        (63.0, 0.5, 64, 2.0, 1.0),
        (0.4, -0.1, 4, 4.0, 0.4),  # as without a quota
    ],
)
def test_others_count_as_far_as_they_take_from_the_quota(others, inside, mask, quota, harm):
    assert harmful(others, inside=inside, mask=mask, quota=quota) == pytest.approx(harm)


class Group:
    """A quota of one core whose counters are given, a look at a time."""

    cores = 1.0

    def __init__(self, *looks):
        self.looks = list(looks)

    def counters(self):
        return self.looks.pop(0)


@pytest.mark.parametrize(("group_used_s", "other_cores"), [(0.0, 0.0), (3.0, 1.5)])
def test_a_busy_machine_beside_a_quota_contaminates_by_what_the_group_misses(monkeypatch, group_used_s, other_cores):
    """Others use 10 of 16 cores for 2 s."""
    busy = iter([100.0, 120.0])
    group = Group(Counters(5.0, 10, 0), Counters(5.0 + group_used_s, 30, 5))
    monkeypatch.setattr(telemetry, "own_cores", lambda: set(range(16)))
    monkeypatch.setattr(telemetry, "smallest_quota", lambda: group)
    monkeypatch.setattr(telemetry, "busy_s", lambda: next(busy))
    times = iter([0.0, 0.0, 2.0, 2.0])
    meter = Meter(None)
    meter.sample(lambda: next(times))
    sample = meter.sample(lambda: next(times))
    assert sample.other_cpu_cores == pytest.approx(other_cores, abs=0.1)
    assert sample.throttled_share == 0.25


def test_a_quota_of_all_cores_changes_nothing(monkeypatch):
    monkeypatch.setattr(telemetry, "own_cores", lambda: {0, 1})
    monkeypatch.setattr(telemetry, "smallest_quota", lambda: Quota(2.0, Path("none")))
    assert telemetry.binding_quota() is None
    monkeypatch.setattr(telemetry, "smallest_quota", lambda: Quota(1.5, Path("none")))
    assert telemetry.binding_quota() == Quota(1.5, Path("none"))


def test_a_quota_that_was_used_up_is_told():
    assert throttling([]) is None
    assert throttling([Sample(1.0)]) is None
    assert throttling([Sample(1.0, throttled_share=0.0), Sample(2.0, throttled_share=0.02)]) is None
    line = throttling([Sample(1.0, throttled_share=0.1), Sample(2.0), Sample(3.0, throttled_share=0.4)])
    assert line is not None
    assert line.startswith("the CPU quota was used up in 25% of its periods")


async def samples_over(seconds):
    loop = asyncio.get_running_loop()
    begun_s, samples = loop.time(), []
    watching = asyncio.create_task(watch(set, lambda: loop.time() - begun_s, samples))
    await asyncio.sleep(seconds)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    return samples


async def test_a_short_point_has_one_sample():
    (sample,) = await samples_over(0.1)
    assert sample.t_s == pytest.approx(0.1, abs=0.09)
    assert sample.server_cpu_cores == 0
    assert sample.client_memory_mib > 10


async def test_a_sample_a_second_and_one_for_the_rest():
    samples = await samples_over(1.9)
    assert [sample.t_s for sample in samples] == pytest.approx([0.5, 1.5, 1.9], abs=0.2)


async def test_no_sample_for_a_rest_too_short_to_tell_anything():
    samples = await samples_over(0.55)
    assert [sample.t_s for sample in samples] == pytest.approx([0.5], abs=0.04)


@pytest.mark.slow
def test_a_study_keeps_the_telemetry_of_its_points(tmp_path):
    study = write_study(
        tmp_path, '[designs.a]\ncommand = "FAKE"\n', load='arrivals = ["ideal"]\nrates = [100]\nduration_s = 0.7'
    )
    done = ragbench("run", study, "--results", tmp_path / "results", "--no-report")
    (path,) = tmp_path.rglob("telemetry.csv")
    samples = TELEMETRY.frame(path)
    assert done.returncode == 0, done.stderr
    assert samples.t_s.iloc[0] == pytest.approx(0.5, abs=0.3)
    assert samples.t_s.is_monotonic_increasing
    assert (samples.client_memory_mib > samples.server_memory_mib).all()
    assert (samples.server_memory_mib > 5).all()
    assert samples.client_cpu_cores.mean() > 0
    assert samples.other_cpu_cores.notna().all()


@pytest.mark.timing
def test_a_busy_process_of_somebody_else_contaminates_a_point(tmp_path):
    """It is a child of this process, which is neither the harness nor the server."""
    study = write_study(
        tmp_path, '[designs.a]\ncommand = "FAKE"\n', load='arrivals = ["ideal"]\nrates = [100]\nduration_s = 0.7'
    )
    with subprocess.Popen([sys.executable, "-c", BURN.format(s=40)]) as burner:
        ragbench("run", study, "--results", tmp_path / "results", "--no-report")
        burner.kill()
    (path,) = tmp_path.rglob("summary.csv")
    summary = load_summary(path)
    assert summary.verdict.tolist() == ["contaminated"]
    assert summary.other_cpu_cores[0] > 0.25


class Driver:
    """An NVML with two GPUs; `refuses`: how many calls of a function fail at first. The last argument is the value."""

    def __init__(self, **refuses):
        self.refuses = refuses
        self.opened = []

    def __getattr__(self, name):
        values = {
            "nvmlDeviceGetCount_v2": 2,
            "nvmlDeviceGetPowerUsage": 70_500,
            "nvmlDeviceGetTotalEnergyConsumption": 1_000_000,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetMaxClockInfo": 1980,
            "nvmlSystemGetCudaDriverVersion_v2": 12_080,
        }

        refuses, opened = self.refuses, self.opened

        class Function:
            argtypes = ()

            def __call__(self, *arguments):
                if name in refuses:
                    refuses[name] -= 1
                    if refuses[name] >= 0:
                        return 3
                if name.startswith("nvmlDeviceGetHandle"):
                    which = arguments[0].value if name.endswith("Index_v2") else arguments[0].value.decode()
                    if which not in (0, 1) and isinstance(which, int):
                        return 2
                    opened.append(which)
                    arguments[-1]._obj.value = 7
                elif name == "nvmlDeviceGetName":
                    arguments[1].value = b"NVIDIA H200"
                elif name == "nvmlDeviceGetUtilizationRates":
                    arguments[-1]._obj.gpu = 40
                elif name == "nvmlDeviceGetMemoryInfo":
                    arguments[-1]._obj.used = 3 * 2**30
                    arguments[-1]._obj.total = 141 * 2**30
                elif name == "nvmlSystemGetDriverVersion":
                    arguments[0].value = b"570.1"
                elif name in values:
                    arguments[-1]._obj.value = values[name]
                return 0

        function = Function()
        self.__dict__[name] = function
        return function


@pytest.fixture
def load(monkeypatch):
    """Let the library be this, wherever nvidia-ml-py would load it; a name that cannot be loaded where it is None."""

    def given(library):
        def loaded(name):
            assert name == "libnvidia-ml.so.1"
            if library is None:
                raise OSError(name)
            return library

        monkeypatch.setattr(pynvml, "CDLL", loaded)
        monkeypatch.setattr(pynvml, "nvmlLib", None)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        return library

    return given


@pytest.fixture
def driver(load):
    return load(Driver())


def test_two_gpus(driver):
    gpus = Gpus.found({})
    assert gpus.now() == {"gpu_percent": 40, "gpu_memory_mib": 6144, "gpu_power_w": 141, "gpu_energy_j": 2000}
    about = gpus.about()
    assert (about["gpu_driver"], gpus.cuda) == ("570.1", (12, 8))
    assert (about["gpu_power_limit_w"], about["gpu_sm_clock_mhz"]) == ((700, 700), (1980, 1980))
    assert about["gpu"] == "2 x NVIDIA H200, 144384 MiB"
    assert Gpus.found({"CUDA_VISIBLE_DEVICES": "1"}).about()["gpu"] == "NVIDIA H200, 144384 MiB"
    assert Gpus.found({"CUDA_VISIBLE_DEVICES": ""}).about()["gpu"] is None


def test_gpus_of_two_kinds_are_counted_by_name(driver, monkeypatch):
    monkeypatch.setattr(nvml, "_name", lambda handle: handle)
    assert Gpus(["A", "B", "A"]).about()["gpu"] == "2 x A + B"


@pytest.mark.parametrize(("visible", "n"), [("1", 1), ("0,1", 2), ("GPU-aa", 1), ("", 0), ("-1", 0)])
def test_the_gpus_that_are_visible(driver, visible, n):
    assert len(Gpus.found({"CUDA_VISIBLE_DEVICES": visible})) == n


@pytest.mark.parametrize(
    ("visible", "opened"),
    [
        ("NoDevFiles", []),
        ("MIG-1", ["MIG-1"]),
        ("MIG-GPU-a/1/0,GPU-b", ["MIG-GPU-a/1/0", "GPU-b"]),
        ("0,-1,1", [0]),
        ("1,1", [1]),
        ("1,2,0", [1]),
        ("GPU-aa,none", ["GPU-aa"]),
    ],
)
def test_gpus_that_are_not_ours_are_not_looked_at(driver, visible, opened):
    """CUDA passes over everything from the first name on that is none; there are two GPUs, 0 and 1."""
    assert len(Gpus.found({"CUDA_VISIBLE_DEVICES": visible})) == len(opened)
    assert driver.opened == opened


def test_what_a_gpu_does_not_tell_is_none(load):
    load(Driver(nvmlDeviceGetUtilizationRates=3))
    told = Gpus.found({}).now()
    assert told["gpu_percent"] is None
    assert told["gpu_power_w"] == 141


def test_what_one_of_two_gpus_does_not_tell_is_none(load):
    load(Driver(nvmlDeviceGetMemoryInfo=1))
    told = Gpus.found({}).now()
    assert told["gpu_memory_mib"] is None
    assert told["gpu_energy_j"] == 2000


def test_no_driver_no_gpu(load):
    load(None)
    gpus = Gpus.found({})
    assert len(gpus) == 0
    assert set(gpus.now().values()) == {None}
    assert set(gpus.about().values()) == {None}
    assert gpus.cuda is None
    load(Driver(nvmlInitWithFlags=9))
    assert len(Gpus.found({})) == 0
