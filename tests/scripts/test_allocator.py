"""The script that measures what kept memory brings: what is left of it when it is stopped."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_no_server_outlives_a_script_that_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/allocator.py", "--servers", "litserve", "--turns", "1", "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as script:
        whole = psutil.Process(script.pid)
        deadline_s = time.monotonic() + 60
        servers: list[psutil.Process] = []
        while len(servers) < 3 and time.monotonic() < deadline_s:
            servers = whole.children(recursive=True)
        script.send_signal(signal.SIGTERM)
        _, said = script.communicate(timeout=30)
    assert len(servers) >= 3
    assert psutil.wait_procs(servers, timeout=5)[1] == []
    assert (script.returncode, said) == (143, "")
