"""Every command that starts processes ends with all of them, within 10 s of Ctrl-C or SIGTERM.

What it runs is wrapped in a shell and ignores SIGTERM, so that neither the shell's death nor the signal ends it.
"""

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from ragbench.processes.family import kill
from ragbench.processes.interrupts import Interrupted, interruptible, run_until_done
from tests.ragbench.running import FAKE, ROOT, write_questions

WITHIN_S = 10.0
MARK = "RAGBENCH_TEST_TREE"
FAKES = FAKE.parent
LONG = "arrivals = ['ideal']\nrates = [50]\nduration_s = 60"


def wrapped(*words: object) -> str:
    return shlex.join(["bash", str(FAKES / "wrapped.sh"), sys.executable, *map(str, words)])


def study(folder: Path, *, load: str = LONG, command: str | None = None) -> Path:
    path = folder / "mine.toml"
    command = command or wrapped(FAKE, "--mode", "ignores-sigterm", "--service-s", "0.01")
    path.write_text(
        f"[study]\nseeds = [1]\n[workload]\nquestions = '{write_questions(folder)}'\n[load]\n{load}\n"
        f"[designs.a]\ncommand = {command!r}\nsettings = {{ max_batch_size = 4 }}\n"
    )
    return path


def run(folder: Path) -> tuple[list[object], str]:
    return ["run", study(folder), "--results", folder / "r"], str(FAKE)


def load(folder: Path) -> tuple[list[object], str]:
    server = subprocess.Popen([sys.executable, str(FAKE)], stdout=subprocess.PIPE, text=True)
    SERVERS.append(server)
    assert server.stdout is not None
    server.stdout.readline()
    url = f"http://127.0.0.1:{server.stdout.readline().split(',')[1].split(':')[1].strip()}"
    return ["load", "--url", url, "--rate", 20, "--duration-s", 60, "--processes", 2], "ragbench.load.sender"


def capacity(folder: Path) -> tuple[list[object], str]:
    slo = ("--slo", "latency_p95_s=1")
    return ["capacity", study(folder), *slo, "--duration-s", 60, "--results", folder / "r"], str(FAKE)


def limit(folder: Path) -> tuple[list[object], str]:
    users = "concurrency = [2]\nduration_s = 60"
    bare = wrapped(FAKES / "bare.py", "--deaf", "--asleep", 600)
    return ["limit", study(folder, load=users), "--results", folder / "r", "--bare", bare], "bare.py"


def retrieval(folder: Path) -> tuple[list[object], str]:
    command = wrapped(FAKES / "retrieval.py", "--mode", "deaf", "--mark", folder)
    path = folder / "mine.toml"
    grid = "metric = ['ip']\nn = 40\nd = 8\nbatch = [1]\nbackend = ['plain']"
    path.write_text(f"[study]\ncommand = {command!r}\nthreads = 2\n[grids.exact]\n{grid}\n")
    return ["retrieval", path, "--results", folder / "r"], "signal.pause"


def chaos(folder: Path) -> tuple[list[object], str]:
    command = wrapped(FAKE, "--mode", "ignores-sigterm")
    return ["chaos", "kill", "--command", command, "--out", folder / "r"], str(FAKE)


def calibrate(folder: Path) -> tuple[list[object], str]:
    return ["calibrate", "--quick", "--out", folder / "r"], "ragbench.calibration.server"


def report(folder: Path) -> tuple[list[object], str]:
    results = shutil.copytree(ROOT / "results" / "reference-cpu", folder / "reference")
    return ["report", results], "ipykernel"


COMMANDS = (run, load, capacity, limit, retrieval, chaos, calibrate, report)
QUICK = {(run, signal.SIGINT), (load, signal.SIGTERM)}
SERVERS: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _servers_of_somebody_else():
    yield
    while SERVERS:
        with SERVERS.pop() as server:
            server.kill()


def tree(folder: Path, *, but: int) -> dict[psutil.Process, str]:
    """The command lines of the processes whose environment has the mark of `folder`, without that of process `but`."""
    found = {}
    for process in psutil.process_iter():
        try:
            is_of_it = process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE
            if is_of_it and process.pid != but:
                found[process] = " ".join(process.cmdline())
        except psutil.Error:
            continue
    return found


def until(is_so: Callable[[], bool], *, limit_s: float = 40.0) -> bool:
    deadline_s = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")
@pytest.mark.parametrize(
    ("command", "number"),
    [
        pytest.param(
            command,
            number,
            id=f"{command.__name__}-{number.name}",
            marks=() if (command, number) in QUICK else pytest.mark.slow,
        )
        for command in COMMANDS
        for number in (signal.SIGINT, signal.SIGTERM)
    ],
)
def test_a_signal_ends_the_whole_tree(
    tmp_path: Path, command: Callable[[Path], tuple[list[object], str]], number: signal.Signals
) -> None:
    arguments, started = command(tmp_path)
    with (tmp_path / "printed").open("wb") as out:
        harness = subprocess.Popen(
            [sys.executable, "-m", "ragbench", *map(str, arguments)],
            cwd=ROOT,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env=os.environ | {MARK: str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        )
    left = partial(tree, tmp_path, but=harness.pid)
    try:
        assert until(lambda: any(started in line for line in left().values()) or harness.poll() is not None)
        until(lambda: harness.poll() is not None, limit_s=1.0)  # so that it is well into its work
        assert harness.poll() is None, (tmp_path / "printed").read_text()
        harness.send_signal(number)
        assert until(lambda: harness.poll() is not None and not left(), limit_s=WITHIN_S), left()
    finally:
        harness.kill()
        harness.wait()
        kill(set(left()))
    printed = (tmp_path / "printed").read_text()
    assert harness.returncode == 128 + number, printed
    assert f"stopped by {number.name}" in printed
    assert "Traceback" not in printed


def test_work_that_is_done_gives_its_result() -> None:
    async def work() -> int:
        return 7

    with interruptible():
        assert run_until_done(work()) == 7


def test_what_copes_with_failures_does_not_take_a_signal_for_one() -> None:
    number = signal.SIGTERM
    before = signal.getsignal(number)

    def swallowing() -> None:
        try:
            signal.raise_signal(number)
        except Exception:
            pytest.fail("taken for a failure")

    with pytest.raises(Interrupted, match="stopped by SIGTERM"), interruptible():
        swallowing()
    assert signal.getsignal(number) is before


def test_a_second_signal_does_not_stop_the_cleaning_up() -> None:
    done = []

    async def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0)
            done.append(True)

    with pytest.raises(Interrupted) as ended:
        run_until_done(work())
    assert ended.value.exit_code == 130
    assert done == [True]


STUCK = """
import asyncio, signal, sys, time
from ragbench.processes import interrupts
interrupts.ORDERLY_S, interrupts.LAST_S = 0.2, 0.5
async def work():
    thread = asyncio.to_thread(time.sleep, 60)
    asyncio.get_running_loop().call_later(0.2, signal.raise_signal, signal.SIGTERM)
    await thread
with interrupts.interruptible():
    interrupts.run_until_done(work())
"""


def test_work_that_cannot_be_ended_is_left_as_it_stands() -> None:
    """A thread that computes: an event loop waits for it before it closes."""
    done = subprocess.run(
        [sys.executable, "-c", STUCK], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 143
    assert done.stderr == "stopped by SIGTERM; not in good order within 0.5 s\n"


def test_an_orphan_in_a_session_of_its_own_does_not_outlive_the_command() -> None:
    daemon = f"{sys.executable} -c 'import time; time.sleep(600)' & echo $!"
    with interruptible():
        printed = subprocess.run(
            ["setsid", "sh", "-c", f"exec 2>&-; {daemon.replace('&', '>&- &')}"], capture_output=True, check=True
        ).stdout
        orphan = psutil.Process(int(printed))
        assert orphan.ppid() == os.getpid()
    assert until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)


def test_what_ran_before_the_command_is_spared() -> None:
    code = "import subprocess, sys; subprocess.Popen(['sleep', '600']); print(1, flush=True); input(); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with interruptible():
            pass
        assert other.poll() is None
        (child,) = psutil.Process(other.pid).children()
        child.kill()
        other.communicate(b"\n\n", timeout=10)
