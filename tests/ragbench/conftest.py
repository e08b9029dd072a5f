"""Fixtures of the harness's tests."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ragbench.__main__ import main
from tests.ragbench.running import fake


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """The URL of a fake server that somebody else started."""
    with subprocess.Popen(
        fake("normal", "--mark", str(tmp_path)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        yield f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}"
        server.terminate()
        server.wait(timeout=10)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str, str]]:
    """Run the command line in this process. -> (exit code, stdout, stderr)"""

    def run(*arguments: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["ragbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run
