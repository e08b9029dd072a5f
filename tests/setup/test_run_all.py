"""run_all.sh with a stub harness: which study it picks, what it passes on, and that it becomes the harness."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.setup.stubs import Machine

RUN_ALL = "./run_all.sh"
GPU = "echo 'GPU 0: NVIDIA H200 (UUID: GPU-0)'"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A clone whose setup.sh only prints what it was to run, and which has three studies."""
    machine = Machine(tmp_path)
    setup = machine.root / "scripts" / "setup.sh"
    setup.write_text('#!/bin/sh\necho "$@"\n')
    (machine.root / "studies").mkdir()
    for name in ("smoke", "sweep", "knee"):
        (machine.root / "studies" / f"{name}.toml").touch()
    return machine


def harness_call(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.removeprefix("python -m ragbench run ").strip()


def test_run_all_picks_smoke_without_a_gpu(machine: Machine) -> None:
    assert harness_call(machine.run(RUN_ALL)) == "studies/smoke.toml"


def test_run_all_picks_sweep_with_a_gpu(machine: Machine) -> None:
    machine.program("nvidia-smi", GPU)
    assert harness_call(machine.run(RUN_ALL)) == "studies/sweep.toml"


def test_run_all_picks_smoke_where_the_driver_lists_no_gpu(machine: Machine) -> None:
    machine.program("nvidia-smi", "echo 'No devices were found'; exit 6")
    assert harness_call(machine.run(RUN_ALL)) == "studies/smoke.toml"


@pytest.mark.parametrize("hidden", ["", "-1", "NoDevFiles"])
def test_run_all_picks_smoke_where_the_gpu_is_hidden(machine: Machine, hidden: str) -> None:
    machine.program("nvidia-smi", GPU)
    assert harness_call(machine.run(RUN_ALL, CUDA_VISIBLE_DEVICES=hidden)) == "studies/smoke.toml"


def test_run_all_says_so_when_a_promised_gpu_is_not_there(machine: Machine) -> None:
    done = machine.run(RUN_ALL, CUDA_VISIBLE_DEVICES="0")
    assert harness_call(done) == "studies/smoke.toml"
    assert "CUDA_VISIBLE_DEVICES is 0 but no GPU is to be seen; running on the CPU\n" in done.stderr


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        (["knee"], "studies/knee.toml"),
        (["studies/knee.toml"], "studies/knee.toml"),
        (["knee", "--no-report", "--results", "elsewhere"], "studies/knee.toml --no-report --results elsewhere"),
        (["--no-report"], "studies/smoke.toml --no-report"),
    ],
)
def test_run_all_passes_the_study_and_the_flags_on(machine: Machine, given: list[str], passed_on: str) -> None:
    assert harness_call(machine.run(RUN_ALL, *given)) == passed_on


def test_run_all_names_the_studies_when_one_is_unknown(machine: Machine) -> None:
    done = machine.run(RUN_ALL, "smok")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "run_all.sh: no study 'smok'; there are: knee smoke sweep (or give the path of a TOML file)\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_run_all_explains_itself(machine: Machine, flag: str) -> None:
    done = machine.run(RUN_ALL, flag)
    assert done.returncode == 0
    assert "./run_all.sh [STUDY]" in done.stdout
    assert "set -euo" not in done.stdout


def test_run_all_can_be_called_from_another_folder(machine: Machine) -> None:
    done = machine.run("sh", "-c", f"cd / && {machine.root}/run_all.sh")
    assert harness_call(done) == "studies/smoke.toml"
    assert machine.run("sh", "-c", f"cd / && {machine.root}/run_all.sh --help").returncode == 0


# Its exit code is 40 and the number of signals that came.
HARNESS = """#!{python}
import os, signal, sys

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
print(os.getpid(), flush=True)
signal.sigtimedwait([signal.SIGTERM, signal.SIGINT], 20)
sys.exit(41 + len(signal.sigpending()))
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_run_all_becomes_the_harness_so_a_signal_reaches_it_once(machine: Machine, sent: int) -> None:
    (machine.root / "scripts" / "setup.sh").write_text(HARNESS.format(python=sys.executable))
    with machine.start(RUN_ALL) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(process.pid)
        process.send_signal(sent)
        process.communicate(timeout=60)
    assert process.returncode == 41
