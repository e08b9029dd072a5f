"""The old commands of modules that have moved."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "door", ["servers.limit", "servers.retrieval", "servers.rag.squad", "servers.rag.tiny.evaluate"]
)
def test_an_old_command_still_leads_to_its_module(door: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", door, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.returncode == 0
    assert f"python -m {door}" in shown.stdout
