"""The old commands of modules that have moved."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "command",
    [
        *("servers.limit", "servers.retrieval", "servers.rag.squad"),
        pytest.param("servers.rag.tiny.evaluate", marks=pytest.mark.slow),
    ],
)
def test_an_old_command_still_leads_to_its_module(command: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", command, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.returncode == 0
    assert f"python -m {command}" in shown.stdout
