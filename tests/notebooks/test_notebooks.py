import ast
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.ragbench.results_fixture import write_study

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While, ast.If, ast.Try, ast.With)
DEADLINE_S = 120

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def _code(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def _papermill(path, out, *parameters, cwd):
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(path), str(out), *parameters]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


def test_outputs_are_stripped(path):
    assert all(not cell.outputs and cell.execution_count is None for cell in _code(path))


def test_one_cell_is_tagged_parameters(path):
    assert [cell.metadata.get("tags", []) for cell in _code(path)].count(["parameters"]) == 1


def test_nothing_is_defined_or_decided(path):
    nodes = [node for cell in _code(path) for node in ast.walk(ast.parse(cell.source))]
    assert not [node for node in nodes if isinstance(node, LOGIC)]


def test_reads_as_an_article(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert sum(cell.cell_type == "markdown" for cell in cells) >= 5


def test_default_study_is_in_the_repository(path):
    (cell,) = [cell for cell in _code(path) if "parameters" in cell.metadata.get("tags", [])]
    (assignment,) = ast.parse(cell.source).body
    assert (ROOT / ast.literal_eval(assignment.value) / "summary.csv").is_file()


def test_runs_as_typed_from_its_own_folder(path, tmp_path):
    study = write_study(tmp_path / "small", variants={"mine": [{}]}, arrivals=("ideal",), rates=(20,))
    done = _papermill(path.name, tmp_path / "out.ipynb", "-p", "study", str(study), cwd=path.parent)
    assert done.returncode == 0, done.stderr
    outputs = [output for cell in _code(tmp_path / "out.ipynb") for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert not [output for output in outputs if output.output_type in {"error", "stream"}]
    assert (study / "figures" / "latency.svg").is_file()


def test_unknown_parameter_is_refused(path, tmp_path):
    done = _papermill(path, tmp_path / "out.ipynb", "-p", "studdy", "results/mine", cwd=ROOT)
    assert done.returncode != 0
    assert "unknown parameter studdy; this notebook takes study" in done.stderr
