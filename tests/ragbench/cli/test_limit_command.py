"""`ragbench limit` on a fake server and a fake pipeline: turns, resumption, mistakes, and a signal in the middle."""

import csv
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ragbench.__main__ import main
from tests.ragbench.running import background, write_study

BARE = Path(__file__).parents[1] / "fakes" / "bare.py"
LOAD = "concurrency = [2]\nrequests = 30\nready_timeout_s = 10.0"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process. -> (exit code, stdout, stderr)"""

    def run(*arguments: object, bare: str = f"python {BARE}") -> tuple[int, str, str]:
        argv = ["ragbench", "limit", *map(str, arguments), "--bare", bare]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def study(folder: Path, settings: str = "max_batch_size = 4", load: str = LOAD) -> Path:
    return write_study(
        folder, f'[designs.a]\ncommand = "FAKE --service-s 0.02"\nsettings = {{ {settings} }}\n', load=load
    )


def asleep(folder: Path) -> subprocess.Popen[str]:
    """The command, run until the pipeline that it times has begun, which goes on for long."""
    file, results = study(folder, f'max_batch_size = 4, mark = "{folder}"'), folder / "results"
    run = background("limit", file, "--results", results, "--bare", f"python {BARE} --asleep 100")
    until((results / "study" / "bare" / "a-seed1.asleep").exists)
    return run


def is_alive(folder: Path) -> bool:
    """Whether a pipeline of a study in that folder runs."""
    alive = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
    return any(str(BARE) in words and str(folder) in " ".join(words) for words in alive)


def until(is_so: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline_s = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.mark.timing
def test_both_sides_are_measured_compared_and_kept(call: Call, tmp_path: Path) -> None:
    file, results = study(tmp_path), tmp_path / "results"
    code, out, err = call(file, "--results", results)
    assert code == 0, err
    (turn,) = csv.DictReader((results / "study" / "limit.csv").read_text().splitlines())
    assert (turn["configuration"], turn["max_batch_size"], turn["users"], turn["bare_rps"]) == ("a", "4", "2", "100.00")
    assert 10 < float(turn["served_rps"]) < 51, "one at a time, 20 ms each"
    assert float(turn["ratio"]) == pytest.approx(float(turn["served_rps"]) / 100, abs=1e-4)
    assert "a, 2 users" in out
    before = (results / "study" / "bare" / "a-seed1.csv").stat().st_mtime_ns
    code, _, err = call(file, "--results", results)
    assert code == 0
    assert "alone" not in err, "nothing is measured again"
    assert (results / "study" / "bare" / "a-seed1.csv").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_turn_is_measured_on_both_sides_or_not_at_all(call: Call, tmp_path: Path) -> None:
    """Where the server's side is gone, the pipeline's is timed again, so that both are of one moment."""
    file, results = study(tmp_path), tmp_path / "results"
    call(file, "--results", results)
    (results / "study" / "a-closed-2users-seed1" / "manifest.json").unlink()
    _, _, err = call(file, "--results", results)
    assert "the pipeline of a alone" in err


@pytest.mark.slow
def test_other_settings_than_those_measured_are_refused(call: Call, tmp_path: Path) -> None:
    results = tmp_path / "results"
    call(study(tmp_path), "--results", results)
    code, _, err = call(study(tmp_path, load=LOAD.replace("30", "31")), "--results", results)
    assert code == 2
    assert "a-closed-2users-seed1" in err
    assert "was measured with requests 30 -> 31" in err


@pytest.mark.parametrize(
    ("settings", "load", "line"),
    [
        ("mark = 1", LOAD, "settings of a: max_batch_size is needed"),
        ("max_batch_size = 4", 'arrivals = ["ideal"]\nrates = [5]\nrequests = 9', "[load]: wanted concurrency alone"),
        ("max_batch_size = 13", LOAD, "the bare pipeline exited with code 1; its log ends:\n    no pipeline here"),
    ],
)
def test_a_mistake_is_one_line(call: Call, tmp_path: Path, settings: str, load: str, line: str) -> None:
    code, out, err = call(study(tmp_path, settings, load), "--results", tmp_path / "results")
    assert (code, out) == (2, "")
    assert line in err
    assert "Traceback" not in err


def test_a_bare_command_that_is_not_there_is_one_line(call: Call, tmp_path: Path) -> None:
    code, out, err = call(study(tmp_path), "--results", tmp_path / "results", bare="no-such-command")
    assert (code, out) == (2, "")
    assert "--bare: cannot start: no-such-command --port 0" in err
    assert "there is no command 'no-such-command' here or on PATH" in err
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_pipeline_too(tmp_path: Path, number: signal.Signals) -> None:
    run = asleep(tmp_path)
    run.send_signal(number)
    _, err = run.communicate(timeout=20)
    assert run.returncode == 128 + number
    assert f"stopped by {number.name}; the same command goes on" in err
    assert not is_alive(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the harness's tether to what it starts is Linux only")
def test_a_killed_harness_leaves_no_pipeline(tmp_path: Path) -> None:
    run = asleep(tmp_path)
    assert is_alive(tmp_path)
    run.kill()
    run.communicate(timeout=20)
    until(lambda: not is_alive(tmp_path))
