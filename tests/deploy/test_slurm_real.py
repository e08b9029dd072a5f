"""run_all.sh and sweep.sbatch under a real SLURM with pretend GPUs: a whole study, a cancelled job, a requeued job."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.needs import need
from tests.setup.clones import active_environment

ROOT = Path(__file__).parents[2]
FAKESLURM = Path(__file__).parent / "fakeslurm"
FAKE_SERVER = ROOT / "tests" / "ragbench" / "fakes" / "server.py"
COPIED = ("run_all.sh", "pyproject.toml", "constraints.txt", "scripts", "ragbench", "policies", "deploy")
SPOOLED = "deploy/slurm/sweep.sbatch"
STUDY = """
[study]
title = "A fake server under SLURM"
seeds = [1]
[workload]
questions = "questions.jsonl"
[load]
arrivals = ["ideal"]
rates = {rates}
duration_s = {duration_s}
warmup_requests = 1
timeout_s = 5.0
ready_timeout_s = 30.0
[designs.fake]
command = "python {server}"
"""


@dataclass(frozen=True)
class Cluster:
    """A clone with studies in a folder, and the variables under which SLURM's commands work there."""

    clone: Path
    environ: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone, to its end."""
        return subprocess.run(
            command, cwd=self.clone, env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )

    def submit(self, study: str) -> str:
        """Queue the batch job and return its id."""
        done = self.run("sbatch", "--parsable", SPOOLED, f"{study}.toml", "--no-report")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def log(self, job: str) -> str:
        """Return what the job has said so far."""
        path = self.clone / "results" / f"slurm-{job}.log"
        return path.read_text() if path.exists() else ""

    def manifests(self, study: str) -> list[dict]:
        """Return the manifests of the points that are whole."""
        return [json.loads(path.read_text()) for path in (self.clone / "results" / study).glob("*/manifest.json")]

    def is_over(self, job: str) -> bool:
        """Tell whether SLURM counts the job as ended."""
        return "JobState=RUNNING" not in (said := self.run("scontrol", "show", "job", job).stdout) and (
            "JobState=PENDING" not in said and "JobState=COMPLETING" not in said
        )

    def processes(self) -> list[str]:
        """Return the command lines of everything that runs in the clone."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cwd").readlink().is_relative_to(self.clone):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # ended meanwhile
        return found

    def wait(self, what: str, is_so: Callable[[], bool], deadline_s: float, job: str) -> None:
        """Ask four times a second until it is so; SLURM tells nobody by itself."""
        end = time.monotonic() + deadline_s
        while not is_so():
            if time.monotonic() > end:
                pytest.fail(f"not {what} within {deadline_s:g} s; job {job} said: {self.log(job)}")
            time.sleep(0.25)


def free_port_pair() -> int:
    """Return a port that is free, like the one above it."""
    for _ in range(100):
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            try:
                high.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise OSError("no two neighbouring free ports in 100 tries")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("slurmctld", "slurmd", "srun", "munged")
    if os.geteuid() != 0:
        pytest.skip("needs root to start SLURM's daemons")
    folder = tmp_path_factory.mktemp("slurm")
    clone = folder / "clone"
    (clone / "results").mkdir(parents=True)
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, clone / name)
    questions = [{"id": f"q{i}", "query": f"Say w{i}?", "answers": [f"w{i}"], "documents": []} for i in range(20)]
    (clone / "questions.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    for study, rates, duration_s in (
        ("short", [20], 0.5),
        ("cancelled", [20, 30, 40], 4),
        ("requeued", [20, 30, 40], 4),
    ):
        text = STUDY.format(rates=rates, duration_s=duration_s, server=FAKE_SERVER)
        (clone / f"{study}.toml").write_text(text)

    daemons = tempfile.mkdtemp(prefix="slurm-", dir="/tmp")  # a socket's path must be short
    environ = active_environment(folder / "environment") | {"SLURM_CONF": f"{daemons}/slurm.conf"}
    try:
        subprocess.run([FAKESLURM / "up.sh", daemons, str(free_port_pair())], check=True, timeout=60)
        yield Cluster(clone, environ)
    finally:
        subprocess.run([FAKESLURM / "down.sh", daemons], check=True, timeout=60)


def test_srun_measures_a_study_and_notes_job_and_node(cluster: Cluster) -> None:
    done = cluster.run("srun", "--gres=gpu:1", "./run_all.sh", "short.toml", "--no-report")
    assert done.returncode == 0, done.stderr
    assert "CUDA_VISIBLE_DEVICES is 0 but no GPU is to be seen; running on the CPU" in done.stderr
    (manifest,) = cluster.manifests("short")
    assert manifest["slurm"]["job_id"].isdecimal()
    assert manifest["slurm"]["node"] == socket.gethostname().split(".")[0]
    assert manifest["summary"]["completed"] == 10
    assert cluster.processes() == []


@pytest.mark.slow
def test_a_cancelled_job_keeps_its_whole_points_and_leaves_no_process(cluster: Cluster) -> None:
    job = cluster.submit("cancelled")
    cluster.wait("one point whole", lambda: len(cluster.manifests("cancelled")) == 1, 30, job)
    assert any(str(FAKE_SERVER) in line for line in cluster.processes())
    asked = time.monotonic()
    assert cluster.run("scancel", job).returncode == 0
    cluster.wait("without processes", lambda: cluster.processes() == [], 8, job)
    assert time.monotonic() - asked < 5
    cluster.wait("over", lambda: cluster.is_over(job), 15, job)
    assert "stopped by SIGTERM; kept: 1 point" in cluster.log(job)


@pytest.mark.slow
def test_a_requeued_job_goes_on_where_it_stopped(cluster: Cluster) -> None:
    job = cluster.submit("requeued")
    cluster.wait("one point whole", lambda: len(cluster.manifests("requeued")) == 1, 30, job)
    (first,) = cluster.manifests("requeued")
    assert cluster.run("scontrol", "requeue", job).returncode == 0
    cluster.wait("all points whole", lambda: len(cluster.manifests("requeued")) == 3, 50, job)
    cluster.wait("over", lambda: cluster.is_over(job), 15, job)
    manifests = sorted(cluster.manifests("requeued"), key=lambda manifest: manifest["started_at"])
    assert manifests[0] == first
    assert [manifest["slurm"]["restart_count"] for manifest in manifests] == [0, 1, 1]
    assert {manifest["slurm"]["job_id"] for manifest in manifests} == {job}
    assert "start number 1" in cluster.log(job)
    assert "start number 2" in cluster.log(job)
    assert cluster.processes() == []
