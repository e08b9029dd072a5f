import csv
import socket
import subprocess
import sys

import psutil
import pytest
from typer.testing import CliRunner

from ragbench.__main__ import application
from ragbench.cli import doctor as command
from ragbench.machine import doctor, environment
from ragbench.machine.doctor import Finding

GPU = {"names": "NVIDIA L4", "driver": "570.1", "driver_cuda": (12, 8), "torch_cuda": (12, 6)}


@pytest.mark.parametrize(
    ("finding", "status"),
    [
        (doctor.python((3, 10)), "fail"),
        (doctor.python((3, 11)), "ok"),
        (doctor.python((3, 12)), "warn"),
        (doctor.packages({"numpy": None, "psutil": "7.0"}, {}), "fail"),
        (doctor.packages({"numpy": "2.1"}, {}), "warn"),
        (doctor.packages({}, {"numpy": "2.2"}), "fail"),
        (doctor.packages({"numpy": "2.1"}, {"numpy": "2.2"}), "warn"),
        (doctor.packages({"torch": "2.6+cpu", "psutil": "7.0"}, {"torch": "2.6"}), "ok"),
        (doctor.gpu(names=None, driver=None, driver_cuda=None, torch_cuda=(12, 8)), "ok"),
        (doctor.gpu(**GPU), "ok"),
        (doctor.gpu(**GPU | {"torch_cuda": (12, 9)}), "ok"),
        (doctor.gpu(**GPU | {"torch_cuda": (13, 0)}), "fail"),
        (doctor.gpu(**GPU | {"torch_cuda": None}), "warn"),
        (doctor.gpu(**GPU | {"driver": None}), "fail"),
        (doctor.cores(1, load_average=0.0), "warn"),
        (doctor.cores(2, load_average=0.25), "ok"),
        (doctor.cores(2, load_average=0.3), "warn"),
        (doctor.cores(16, load_average=1.5), "ok"),
        (doctor.governor(None), "ok"),
        (doctor.governor("performance"), "ok"),
        (doctor.governor("performance + powersave"), "warn"),
        (doctor.open_files(1024, hard=1023), "fail"),
        (doctor.open_files(1024, hard=4095), "warn"),
        (doctor.open_files(1024, hard=4096), "ok"),
        (doctor.open_files(None, hard=None), "ok"),
        (doctor.ports([]), "ok"),
        (doctor.ports([8000, 9000]), "warn"),
        (doctor.disk(0.9, folder="results"), "fail"),
        (doctor.disk(4.9, folder="results"), "warn"),
        (doctor.disk(5.0, folder="results"), "ok"),
        (doctor.memory(0.4, swapped_gib=0.0), "fail"),
        (doctor.memory(1.9, swapped_gib=0.0), "warn"),
        (doctor.memory(8.0, swapped_gib=0.3), "warn"),
        (doctor.memory(8.0, swapped_gib=0.2), "ok"),
        (doctor.models({"reader": True}, cached=[]), "ok"),
        (doctor.models({"reader": False}, cached=["facebook/opt-125m"]), "fail"),
        (doctor.timer(0.0009), "ok"),
        (doctor.timer(0.0011), "warn"),
        (doctor.timer(0.011), "fail"),
        (doctor.clock("tsc"), "ok"),
        (doctor.clock(None), "ok"),
        (doctor.clock("hpet"), "warn"),
        (doctor.others({}, cores=2), "ok"),
        (doctor.others({"a": 0.125, "b": 0.13}, cores=2), "warn"),
        (doctor.others({"a": 1.5}, cores=16), "ok"),
    ],
)
def test_each_check(finding, status):
    assert finding.status == status
    assert finding.seen
    assert (finding.advice == "") == (status == "ok")


def test_what_is_seen_names_the_culprits():
    assert doctor.ports([8000, 9000]).seen == "taken: 8000, 9000"
    assert doctor.others({"cc1": 0.4, "idle": 0.01, "make": 0.9}, cores=2).seen == "1.31 cores: make 0.90, cc1 0.40"
    assert doctor.packages({"numpy": "2.1"}, {"numpy": "2.2"}).seen == "numpy 2.1 (tested: 2.2)"
    assert doctor.models({"b": False, "a": True}, cached=["x/y"]).seen == "tiny lacks b; cached: x/y"


def test_what_is_installed_is_found_by_its_plain_name(monkeypatch, tmp_path):
    lines = ["Uvicorn[standard]>=0.34", "psutil>=6", "no_such.package", 'cupy-cuda12x>=13; extra == "gpu"']
    monkeypatch.setattr(environment.importlib.metadata, "requires", lambda name: lines)
    found = environment.installed()
    assert set(found) == {"uvicorn", "psutil", "no-such-package"}
    assert found["psutil"] == psutil.__version__
    assert found["no-such-package"] is None
    (tmp_path / "constraints.txt").write_text("# exact\nast_serialize==0.13.1\nPsutil==7.0.0\n")
    assert environment.pinned(tmp_path / "constraints.txt") == {"ast-serialize": "0.13.1", "psutil": "7.0.0"}
    assert environment.pinned(tmp_path / "absent") == {}


@pytest.mark.parametrize(
    ("versions", "cuda"),
    [
        ({}, None),
        ({"torch": "2.9.1+cpu", "nvidia-cuda-runtime-cu12": "12.8.90"}, None),
        ({"torch": "2.9.1+cu128"}, (12, 8)),
        ({"torch": "2.9.1+cu130"}, (13, 0)),
        ({"torch": "2.6.0", "nvidia-cuda-runtime-cu12": "12.4.127"}, (12, 4)),
        ({"torch": "2.9.1"}, None),
    ],
)
def test_the_cuda_of_torch(versions, cuda):
    assert environment.torch_cuda(versions.get) == cuda


def test_models_on_disk(tmp_path):
    (tmp_path / "hub" / "models--facebook--opt-125m").mkdir(parents=True)
    (tmp_path / "hub" / "datasets--x--y").mkdir()
    assert environment.cached_models({"HF_HOME": str(tmp_path)}) == ["facebook/opt-125m"]
    assert environment.cached_models({"HF_HUB_CACHE": str(tmp_path / "hub")}) == ["facebook/opt-125m"]
    assert environment.cached_models({"HF_HOME": str(tmp_path / "none")}) == []
    assert set(environment.shipped().values()) == {True}
    (tmp_path / "reader").mkdir()
    (tmp_path / "reader" / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    assert set(environment.shipped(tmp_path).values()) == {False}


def test_a_port_is_taken_while_something_listens():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert environment.is_taken(port)
    assert not environment.is_taken(port)


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path):
    free = psutil.disk_usage(str(tmp_path)).free / 2**30
    assert environment.free_gib(tmp_path / "a" / "b") == pytest.approx(free, rel=0.05)


def test_a_wait_ends_late_but_not_much():
    assert 0 < environment.timer_late_p95_s() < 0.5


def test_a_busy_program_is_named():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burner:
        name = psutil.Process(burner.pid).name()
        used = environment.used_by_others(0.3)
        burner.kill()
    assert 0.1 < used[name] <= psutil.cpu_count() + 0.2


@pytest.fixture
def findings(monkeypatch):
    given = [Finding("a", "ok", "fine"), Finding("b", "warn", "[8000], so so", "wait")]
    monkeypatch.setattr(command, "checks", lambda results: [lambda one=one: one for one in given])
    return given


def test_the_command_tells_and_writes_each_finding(findings, tmp_path):
    result = CliRunner().invoke(application(["doctor"]), ["doctor", "--out", str(tmp_path / "d.csv")])
    assert result.exit_code == 0
    with (tmp_path / "d.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["check", "status", "seen", "advice"],
            ["a", "ok", "fine", ""],
            ["b", "warn", "[8000], so so", "wait"],
        ]


def test_the_command_fails_where_a_check_does(findings):
    findings.append(Finding("c", "fail", "broken", "mend it"))
    assert CliRunner().invoke(application(["doctor"]), ["doctor"]).exit_code == 1


def test_the_command_looks_at_this_machine(tmp_path):
    result = CliRunner().invoke(
        application(["doctor"]), ["doctor", "--results", str(tmp_path), "--out", str(tmp_path / "d.csv")]
    )
    with (tmp_path / "d.csv").open() as file:
        found = {row["check"]: row["status"] for row in csv.DictReader(file)}
    assert found["python"] == "ok"
    assert set(found) >= {"cores", "memory", "disk", "timer", "other programs"}
    assert result.exit_code == (1 if "fail" in found.values() else 0)


@pytest.mark.slow
def test_every_check_looks_at_this_machine(tmp_path):
    found = [check() for check in environment.checks(tmp_path)]
    assert [one.name for one in found] == [
        *("python", "packages", "gpu", "models", "cores", "governor", "memory", "disk"),
        *("open files", "ports", "clock", "timer", "other programs"),
    ]
