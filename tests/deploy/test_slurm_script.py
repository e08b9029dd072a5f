"""deploy/slurm/sweep.sbatch without SLURM: what it runs, where, and how a signal and an exit code pass through it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "slurm" / "sweep.sbatch"

# Its exit code is 40 and the number of signals that came.
RUN_ALL = """#!{python}
import os, signal, sys

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print(os.getpid(), os.getcwd(), *sys.argv[1:], flush=True)
if "wait" in sys.argv:
    signal.sigtimedwait([signal.SIGTERM], 20)
    sys.exit(41 + len(signal.sigpending()))
sys.exit(7)
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The folder where sbatch was called, with a stub for run_all.sh; the script itself runs from a spool folder."""
    folder = tmp_path / "clone"
    folder.mkdir()
    stub = folder / "run_all.sh"
    stub.write_text(RUN_ALL.format(python=sys.executable))
    stub.chmod(0o755)
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "slurm_script").write_text(SCRIPT.read_text())
    return folder


def batch_shell(clone: Path, *arguments: str) -> subprocess.Popen[str]:
    spool = clone.parent / "spool"
    environ = {"PATH": "/usr/bin:/bin", "SLURM_SUBMIT_DIR": str(clone), "SLURM_JOB_ID": "5", "SLURM_RESTART_COUNT": "1"}
    return subprocess.Popen(
        ["bash", spool / "slurm_script", *arguments],
        cwd=spool,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_batch_job_runs_the_study_where_it_was_submitted(clone: Path) -> None:
    with batch_shell(clone, "smoke", "--no-report") as process:
        out, _ = process.communicate(timeout=30)
    header, call = out.splitlines()
    assert "job 5 on " in header
    assert "start number 2" in header
    assert call == f"{process.pid} {clone} smoke --no-report --mixed"
    assert process.returncode == 7


def test_batch_job_s_term_reaches_the_harness_once_and_its_exit_code_is_the_job_s(clone: Path) -> None:
    with batch_shell(clone, "wait") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 41


def test_batch_job_submitted_elsewhere_says_where_from(clone: Path) -> None:
    (clone / "run_all.sh").unlink()
    with batch_shell(clone) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err == f"sweep.sbatch: no run_all.sh in {clone}; call sbatch from the repository's folder\n"


def test_batch_job_asks_for_what_a_clean_stop_and_a_resume_need() -> None:
    asked = {line.removeprefix("#SBATCH ") for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH ")}
    assert {"--gres=gpu:1", "--signal=B:TERM@60", "--requeue", "--open-mode=append"} <= asked
    assert "--output=results/slurm-%j.log" in asked
