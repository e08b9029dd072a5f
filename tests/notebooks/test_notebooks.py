import ast
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.ragbench.compare_fixture import write_runs
from tests.ragbench.results_fixture import write_study
from tests.ragbench.retrieval.results_fixture import write_results
from tests.ragbench.simulator.known import Noisy
from tests.ragbench.simulator.measured import write_measured

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While, ast.If, ast.Try, ast.With)
DEADLINE_S = 120


def _sweep(folder):
    study = write_study(folder / "small", designs={"mine": [{}]}, arrivals=("ideal",), rates=(20,))
    return {"study": study}, 3, ()


def _compare(folder):
    services = {"one": lambda rate: 0.014, "two": lambda rate: 0.014 * 1.2}
    small = write_runs(folder / "small", services, rates=(20, 40), seeds=(1, 2, 3, 4, 5))
    told = "two is slower than one at 20/s by", "All 8 intervals hold at once", "latency_p95_s"
    return {"a": f"{small}:one", "b": f"{small}:two"}, 1, told


def _capacity(folder):
    small = write_runs(folder / "small", {"one": lambda rate: 0.01}, rates=(20, 40, 80, 160), seeds=(1, 2))
    (small / "capacity.csv").write_text(
        "configuration,design,arrival,slo,capacity_rps,low_rps,high_rps,resolved,reason,probes,points,load_s,bias\n"
        "one,one,poisson,latency_p95_s <= 1,80,80,160,true,bracket 100% wide,4,8,2,0.1\n"
    )
    return {"study": small}, 1, ("bracket 100% wide", "<td>one</td>")


def _twin(folder):
    small = write_measured(folder / "small", Noisy(0.006, 0.002))
    return {"study": small}, 4, ("within 15% of measured at 6 of 6 valid loads", "<td>scaled max_batch_size=8</td>")


def _retrieval(folder):
    told = (
        "No row of this study was measured on a GPU",
        "torch 30 at d 1,024",
        "nothing to show for `gpu`",
        "<td>ivf_pq</td>",
    )
    return {"study": write_results(folder / "small")}, 6, told


SMALL = {  # -> parameters, pictures, words
    "sweep": _sweep,
    "compare": _compare,
    "capacity": _capacity,
    "twin": _twin,
    "retrieval": _retrieval,
}

QUICK = {"sweep", "capacity"}
of_each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def _code(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def _papermill(path, out, *parameters, cwd):
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(path), str(out), *parameters]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


@of_each
def test_outputs_are_stripped(path):
    assert all(not cell.outputs and cell.execution_count is None for cell in _code(path))


@of_each
def test_one_cell_is_tagged_parameters(path):
    assert [cell.metadata.get("tags", []) for cell in _code(path)].count(["parameters"]) == 1


@of_each
def test_nothing_is_defined_or_decided(path):
    nodes = [node for cell in _code(path) for node in ast.walk(ast.parse(cell.source))]
    assert not [node for node in nodes if isinstance(node, LOGIC)]


@of_each
def test_reads_as_an_article(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert sum(cell.cell_type == "markdown" for cell in cells) >= 5


@of_each
def test_default_studies_are_in_the_repository(path):
    (cell,) = [cell for cell in _code(path) if "parameters" in cell.metadata.get("tags", [])]
    defaults = [ast.literal_eval(assignment.value) for assignment in ast.parse(cell.source).body]
    folders = [str(value).partition(":")[0] for value in defaults if isinstance(value, str)]
    assert folders
    for folder in folders:
        assert (ROOT / folder / "summary.csv").is_file()


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.name, marks=() if path.stem in QUICK else pytest.mark.slow) for path in NOTEBOOKS],
)
def test_runs_as_typed_from_its_own_folder(path, tmp_path):
    parameters, pictures, told = SMALL[path.stem](tmp_path)
    given = [word for name, value in parameters.items() for word in ("-p", name, str(value))]
    done = _papermill(path.name, tmp_path / "out.ipynb", *given, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    outputs = [output for cell in _code(tmp_path / "out.ipynb") for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= pictures
    assert not [output for output in outputs if output.output_type in {"error", "stream"}]
    shown = "\n".join(str(output.get("data", {})) for output in outputs)
    assert not [words for words in told if words not in shown]
    assert path.stem != "sweep" or (tmp_path / "small" / "figures" / "latency.svg").is_file()


@of_each
def test_parameters_are_checked_before_anything_is_read(path):
    parameters, check, *_ = _code(path)
    assert parameters.metadata["tags"] == ["parameters"]
    assert check.source.endswith("notebook.check_parameters()")
