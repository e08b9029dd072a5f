"""scripts/setup.sh on stubbed machines: what it installs, when it skips, and its one line when it cannot."""

from pathlib import Path

import pytest

from tests.setup.stubs import Machine

SETUP = "scripts/setup.sh"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def ready(machine: Machine) -> Machine:
    machine.python()
    done = machine.run(SETUP)
    assert done.returncode == 0, done.stderr
    return machine


def test_setup_makes_the_environment_and_prints_its_python(machine: Machine) -> None:
    machine.python()
    done = machine.run(SETUP)
    assert (done.returncode, done.stdout) == (0, f"{machine.root}/.venv/bin/python\n"), done.stderr
    assert machine.installed() == ["pip>=25.3", "torch", ".[dev]"]
    assert all("-c" in call for call in machine.calls())


def test_setup_skips_when_nothing_changed(ready: Machine) -> None:
    before = ready.calls()
    done = ready.run(SETUP, PIP_EXIT="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{ready.root}/.venv/bin/python\n", "")
    assert ready.calls() == before


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_setup_updates_the_environment_when_a_requirement_changed(ready: Machine, name: str) -> None:
    kept = ready.root / ".venv" / "kept"
    kept.touch()
    with (ready.root / name).open("a") as file:
        file.write("# changed\n")
    assert ready.run(SETUP).returncode == 0
    assert ready.installed().count(".[dev]") == 2
    assert kept.exists()


def test_setup_recreates_an_environment_whose_set_up_was_cut_off(machine: Machine) -> None:
    machine.python()
    assert machine.run(SETUP, PIP_KILLS="1").returncode == -9
    half_done = machine.root / ".venv" / "half-done"
    half_done.touch()
    assert machine.run(SETUP).returncode == 0
    assert not half_done.exists()
    assert machine.installed()[-1] == ".[dev]"


def test_setup_recreates_an_environment_whose_python_is_gone(ready: Machine) -> None:
    python = ready.root / ".venv" / "bin" / "python"
    python.unlink()
    assert ready.run(SETUP, "python", "-c", "pass").returncode == 0
    assert python.exists()


def test_setup_keeps_an_environment_that_pip_only_failed_to_update(ready: Machine) -> None:
    kept = ready.root / ".venv" / "kept"
    kept.touch()
    with (ready.root / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    assert ready.run(SETUP, PIP_EXIT="1").returncode == 1
    assert ready.run(SETUP).returncode == 0
    assert kept.exists()


def test_setup_becomes_the_command_inside_the_environment(ready: Machine) -> None:
    code = "import os, sys; print(os.getpid(), sys.prefix, os.environ['VIRTUAL_ENV']); sys.exit(7)"
    with ready.start(SETUP, "python", "-c", code) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert out.split() == [str(process.pid), f"{ready.root}/.venv", f"{ready.root}/.venv"]


def test_setup_run_twice_at_once_installs_once(machine: Machine) -> None:
    machine.python()
    with machine.start(SETUP) as first, machine.start(SETUP) as second:
        outs = {first.communicate(timeout=60)[0], second.communicate(timeout=60)[0]}
    assert (first.returncode, second.returncode) == (0, 0)
    assert outs == {f"{machine.root}/.venv/bin/python\n"}
    assert machine.installed().count(".[dev]") == 1


def test_setup_refuses_an_unknown_option(machine: Machine) -> None:
    done = machine.run(SETUP, "--frobnicate")
    assert done.returncode == 2
    assert "unknown option '--frobnicate'" in done.stderr


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_setup_uses_the_active_environment(machine: Machine, variable: str) -> None:
    active = machine.environment("active")
    done = machine.run(SETUP, **{variable: str(active), "CONDA_DEFAULT_ENV": "ragbench"})
    assert (done.returncode, done.stdout) == (0, f"{active}/bin/python\n"), done.stderr
    assert not (machine.root / ".venv").exists()


def test_setup_leaves_conda_s_base_alone(machine: Machine) -> None:
    machine.python()
    base = machine.environment("conda")
    done = machine.run(SETUP, CONDA_PREFIX=str(base), CONDA_DEFAULT_ENV="base")
    assert done.stdout == f"{machine.root}/.venv/bin/python\n"


# What torch brings decides how it is installed.


def test_setup_takes_the_cpu_build_where_plain_torch_would_bring_cuda(machine: Machine) -> None:
    machine.python()
    done = machine.run(SETUP, PIP_BRINGS="torch nvidia-cudnn-cu13 triton")
    assert done.returncode == 0, done.stderr
    (command,) = machine.calls("uv")
    assert command[0].startswith(f"pip install --python {machine.root}/.venv/bin/python --torch-backend=cpu")
    assert machine.installed() == ["pip>=25.3", "uv", ".[dev]"]


def test_setup_brings_cuda_and_the_gpu_extra_where_there_is_a_gpu(machine: Machine) -> None:
    machine.python()
    machine.program("nvidia-smi", "echo 'GPU 0: NVIDIA H200 (UUID: GPU-0)'")
    assert machine.run(SETUP).returncode == 0
    assert machine.installed() == ["torch", ".[dev,gpu]"]


def test_setup_for_a_gpu_elsewhere(machine: Machine) -> None:
    machine.python()
    assert machine.run(SETUP, RAGBENCH_GPU="1").returncode == 0
    assert machine.installed() == ["torch", ".[dev,gpu]"]


def test_setup_for_a_gpu_is_kept_on_a_machine_without_one(machine: Machine) -> None:
    machine.python()
    smi = machine.program("nvidia-smi", "echo 'GPU 0: NVIDIA H200 (UUID: GPU-0)'")
    assert machine.run(SETUP).returncode == 0
    smi.unlink()
    before = machine.calls()
    assert machine.run(SETUP).returncode == 0
    assert machine.calls() == before


def test_setup_for_a_cpu_is_extended_on_a_machine_with_a_gpu(ready: Machine) -> None:
    ready.program("nvidia-smi", "echo 'GPU 0: NVIDIA H200 (UUID: GPU-0)'")
    assert ready.run(SETUP).returncode == 0
    assert ready.installed()[-2:] == ["torch", ".[dev,gpu]"]


# When it cannot: one line that says what was wanted and what to do.


def one_line(machine: Machine, **environ: str) -> str:
    done = machine.run(SETUP, **environ)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    wanted = [line for line in done.stderr.splitlines() if line.startswith("setup: wanted")]
    assert wanted == [done.stderr.splitlines()[-1]]
    return wanted[0]


def pretend(machine: Machine, code: str) -> None:
    """Put a python3.11 on PATH that runs `code` before whatever it is asked to run."""
    machine.python("real-python")
    machine.program("python3.11", f"""exec real-python -c '{code}; exec(sys.argv[1])' "$2" """)


def test_setup_without_any_python(machine: Machine) -> None:
    line = one_line(machine)
    assert "wanted Python 3.11 or newer with venv, found none; install python3.11" in line


def test_setup_with_a_python_that_is_too_old(machine: Machine) -> None:
    pretend(machine, "import sys; sys.version_info = (3, 9, 2)")
    assert "found Python 3.9 (too old); install python3.11" in one_line(machine)


def test_setup_with_a_python_without_venv(machine: Machine) -> None:
    pretend(machine, 'import sys; sys.modules["ensurepip"] = None')
    assert "without its venv module (Debian, Ubuntu: apt-get install python3-venv)" in one_line(machine)


def test_setup_passes_over_a_python_that_will_not_do(machine: Machine) -> None:
    pretend(machine, "import sys; sys.version_info = (3, 9, 2)")
    machine.python("python3")
    assert machine.run(SETUP).returncode == 0


def test_setup_with_a_chosen_python_that_will_not_do_takes_no_other(machine: Machine) -> None:
    machine.python("python3.11")
    assert "found /nowhere/python: none" in one_line(machine, PYTHON="/nowhere/python")


def test_setup_on_a_full_disk(machine: Machine) -> None:
    machine.python()
    (machine.bin / "df").unlink()
    machine.program("df", "printf 'Filesystem blocks used free %% on\\n/dev/x 9 9 1500000 9%% /\\n'")
    assert "wanted 4 GB of free disk for the environment, found 1 GB" in one_line(machine)
    assert not (machine.root / ".venv").exists()


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "WARNING: broken by 'NewConnectionError(...)'\nERROR: No matching distribution found for torch",
            "no package registry answered",
        ),
        ("ERROR: No matching distribution found for torch==9", "the registry has no 'torch==9'"),
        ("ERROR: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: something else", "ERROR: something else"),
    ],
)
def test_setup_when_pip_fails(machine: Machine, said: str, line: str) -> None:
    machine.python()
    wanted = one_line(machine, PIP_EXIT="1", PIP_SAYS=said)
    assert line in wanted
    log = machine.root / ".venv" / "ragbench-setup.log"
    assert str(log) in wanted
    assert said in log.read_text()
