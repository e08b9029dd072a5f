"""A server as a child, and the CPU time of each of its processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

SAMPLER = Path(__file__).resolve().parent / "sampler"
_STOP_S, _WRITTEN_S = 20.0, 10.0
Cpu = tuple[str, float, float]
"""Name of a process, its user and its kernel seconds."""


@contextmanager
def started(command: Sequence[str], *, checkout: Path, out: Path) -> Iterator[tuple[int, int]]:
    """Start a server of `checkout` that samples to `out` when told. -> its pid and its port, once it is ready.

    In a session of its own, so that Ctrl-C reaches this process alone, which ends the server.
    """
    environment = os.environ | {
        "BUDGET": str(out),
        "PYTHONPATH": os.pathsep.join([str(SAMPLER), str(checkout.resolve())]),
    }
    with (
        (out / "log").open("wb") as log,
        subprocess.Popen(
            command, cwd=checkout, env=environment, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        ) as server,
    ):
        try:
            line = server.stdout.readline() if server.stdout else b""
            if not line:
                told = (out / "log").read_text(encoding="utf-8", errors="replace")[-500:]
                raise RuntimeError(f"the server ended before it was ready; its log ends: {told}")
            yield server.pid, json.loads(line)["port"]
        finally:
            _end(server)


def sampled(out: Path, pid: int) -> list[tuple[int, list[list[str]]]]:
    """What the process has written since SIGUSR2. Raises TimeoutError."""
    path, last_s = out / f"{pid}.json", time.monotonic() + _WRITTEN_S
    while not path.exists():
        if time.monotonic() > last_s:
            raise TimeoutError(f"the server has written no samples in {_WRITTEN_S:g} s: {path}")
        time.sleep(0.05)
    return json.loads(path.read_text(encoding="utf-8"))


def cpu(pid: int, *, name: str) -> dict[int, Cpu]:
    """CPU seconds so far of a process of this name and of those below it, by pid."""
    found: dict[int, Cpu] = {}
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found[process.pid] = (name if process == root else _name(process.cmdline()), times.user, times.system)
    return found


def used(before: Mapping[int, Cpu], after: Mapping[int, Cpu]) -> dict[str, tuple[float, float]]:
    """User and kernel seconds between two looks, by name; processes of one name are added up."""
    sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for pid, (name, user_s, kernel_s) in after.items():
        _, user_before_s, kernel_before_s = before.get(pid, (name, 0.0, 0.0))
        sums[name][0] += user_s - user_before_s
        sums[name][1] += kernel_s - kernel_before_s
    return {name: (user_s, kernel_s) for name, (user_s, kernel_s) in sums.items()}


def _name(command: Sequence[str]) -> str:
    text = " ".join(command)
    if "servers.engine.process" in text:
        return "engine"
    if "-m servers batched" in text:
        return "replica"
    program = Path(command[0]).name if command else ""
    if not program.startswith("python"):
        return program.split(".")[0] or "gone"
    kinds = {"resource_tracker": "resource tracker", "spawn_main": "worker", "forkserver": "fork server"}
    return next((name for mark, name in kinds.items() if mark in text), "worker")


def _end(server: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL for what is left of it and of the processes below it."""
    with suppress(psutil.NoSuchProcess):
        below = psutil.Process(server.pid).children(recursive=True)
        server.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(below, timeout=_STOP_S)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    with suppress(subprocess.TimeoutExpired):
        server.wait(_STOP_S)
    server.kill()


def command_of(name: str, profile: str) -> list[str]:
    """How a design or a peer is started. The peers have the settings of studies/overhead.toml."""
    if name in ("batched", "scaled"):
        return [sys.executable, "-m", "servers", name, "--profile", profile, "--port", "0"]
    waiting = [] if name in ("fastapi", "echo") else ["--max-wait-s", "0.002"]
    return [sys.executable, "-m", "peers", name, "--profile", profile, "--port", "0", *waiting]
