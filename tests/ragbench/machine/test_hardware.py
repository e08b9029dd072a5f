import json
import resource
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from ragbench.machine import hardware
from ragbench.machine.cgroup import Quota
from ragbench.machine.hardware import Hardware, governor, open_files, slurm, this_machine, usable_cores, versions


def test_this_machine_can_be_written_down():
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory_gib > 0
    assert json.loads(json.dumps(asdict(machine)))["cpu"] == machine.cpu


def test_a_machine_in_one_string():
    machine = Hardware("AMD EPYC", 2, 23.4, None, "node", "3.11.7", "Linux 6")
    assert str(machine) == "AMD EPYC, 2 cores, 23 GiB, no GPU"


def test_the_governor_of_the_cores_we_may_run_on(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "own_cores", lambda: {1, 2})
    assert governor(tmp_path) is None
    for core, name in enumerate(["userspace", "performance", "performance"]):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{name}\n")
    assert governor(tmp_path) == "performance"
    (tmp_path / "cpu2" / "cpufreq" / "scaling_governor").write_text("powersave\n")
    assert governor(tmp_path) == "performance + powersave"


@pytest.mark.parametrize(("limits", "told"), [((512, 4096), 512), ((resource.RLIM_INFINITY, -1), None)])
def test_open_files(monkeypatch, limits, told):
    monkeypatch.setattr(resource, "getrlimit", lambda what: limits)
    assert open_files() == told


@pytest.mark.parametrize(("quota", "cores"), [(None, 6), (2.0, 2), (2.5, 2), (0.5, 1), (9.0, 6)])
def test_usable_cores_are_those_of_the_mask_and_the_quota(monkeypatch, tmp_path, quota, cores):
    monkeypatch.setattr(hardware, "own_cores", lambda: set(range(6)))
    monkeypatch.setattr(hardware, "smallest_quota", lambda: None if quota is None else Quota(quota, tmp_path))
    assert usable_cores() == cores


def test_what_the_driver_tells_goes_into_the_manifest(monkeypatch):
    about = {"gpu": "H200", "gpu_driver": "570.1", "gpu_sm_clock_mhz": (1980.0,), "gpu_power_limit_w": (700.0,)}
    monkeypatch.setattr(hardware.Gpus, "found", lambda: SimpleNamespace(about=lambda: about))
    told = json.loads(json.dumps(asdict(this_machine())))
    assert (told["gpu_driver"], told["gpu_sm_clock_mhz"], told["gpu_power_limit_w"]) == ("570.1", [1980], [700])
    assert told["gpu"] == "H200"
    assert told["load_average"] >= 0
    assert told["open_files"] is None or told["open_files"] > 0


def test_slurm():
    assert slurm({}) is None
    assert slurm({"SLURM_JOB_ID": ""}) is None
    assert slurm({"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1", "SLURM_RESTART_COUNT": "2"}) == {
        "job_id": "7",
        "node": "n1",
        "restart_count": 2,
    }
    assert slurm({"SLURM_JOB_ID": "7"}) == {"job_id": "7", "node": None, "restart_count": 0}


def test_versions_name_what_is_there(monkeypatch):
    assert {"python", "aiohttp", "numpy"} <= versions().keys()
    monkeypatch.setattr(hardware, "_PACKAGES", ("no-such-package",))
    assert versions().keys() == {"python"}
