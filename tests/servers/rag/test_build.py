"""What building a pipeline brings in."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
BUILT = """
import sys
from servers.rag.build import build
from servers.settings import Settings
build(Settings(profile="tiny"))
print(sorted({"transformers", "sentence_transformers", "pandas"} & set(sys.modules)))
"""


def test_the_shipped_models_are_loaded_without_the_libraries_of_others() -> None:
    built = subprocess.run(
        [sys.executable, "-c", BUILT],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert built.stdout.strip() == "[]"
