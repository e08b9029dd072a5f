"""Fixtures of the harness's tests."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

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
