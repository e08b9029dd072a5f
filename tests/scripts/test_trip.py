"""What docs/architecture.md says of a question's trip."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEFORE = 221  # changes of file that the same question took before the house had rooms, at b5b6a9c


@pytest.mark.slow
def test_a_question_enters_half_as_many_rooms_as_it_once_entered_files() -> None:
    command = [sys.executable, "scripts/trip", "question"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    steps = {kind: int(count) for count, kind in re.findall(r"(\d+) steps between (\w+)", said)}
    assert 30 < steps["folders"] <= BEFORE / 2 < steps["files"]
