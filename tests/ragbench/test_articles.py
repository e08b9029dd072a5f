"""The notebooks on comparisons and capacities run by papermill on small made-up studies."""

import csv

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from ragbench.kernel import CHECKOUT, own_kernel
from tests.ragbench.compare_fixture import write_runs

NOTEBOOKS = ("compare", "capacity")


@pytest.fixture
def run(tmp_path):
    """Run a notebook with parameters. -> all its outputs as one text"""

    def executed(name, **parameters):
        notebook = papermill.execute_notebook(
            CHECKOUT / "notebooks" / f"{name}.ipynb",
            tmp_path / "out.ipynb",
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            execution_timeout=60,
            kernel_manager_class=own_kernel(tmp_path),
        )
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        return "\n".join(str(dict(output.get("data", {}))) for output in outputs)

    return executed


def services(ratio):
    return {"one": lambda rate: 0.014, "two": lambda rate: 0.014 * ratio}


def test_compare_runs_and_says_what_differs(run, tmp_path):
    folder = write_runs(tmp_path / "it", services(1.2), rates=(20, 40), seeds=(1, 2, 3, 4, 5))
    text = run("compare", a=f"{folder}:one", b=f"{folder}:two")
    assert "two is slower than one at 20/s by" in text
    assert "image/png" in text
    assert "All 10 intervals hold at once" in text
    assert "latency_p95_s" in text


def test_capacity_runs_and_shows_bracket_and_table(run, tmp_path):
    folder = write_runs(tmp_path / "it", {"one": lambda rate: 0.01}, rates=(20, 40, 80, 160), seeds=(1, 2))
    with (folder / "capacity.csv").open("w", newline="") as file:
        row = {"design": "one", "variant": "one", "arrival": "poisson", "slo": "latency_p95_s <= 1"}
        row |= {"capacity_rps": 80, "low_rps": 80, "high_rps": 160, "resolved": "true", "reason": "bracket 100% wide"}
        writer = csv.DictWriter(file, [*row, "probes", "points"])
        writer.writeheader()
        writer.writerow(row | {"probes": 4, "points": 8})
    text = run("capacity", study=str(folder))
    assert "image/png" in text
    assert "bracket 100% wide" in text
    assert "Figure: capacity" in text or "<td>one</td>" in text


def test_unknown_parameters_are_refused(run, tmp_path):
    with pytest.raises(PapermillExecutionError, match="unknown parameter c; this notebook takes a, across_machines, b"):
        run("compare", c="results/x")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_stripped_defines_nothing_and_has_one_parameters_cell(name):
    notebook = nbformat.read(CHECKOUT / "notebooks" / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    source = "\n".join(cell.source for cell in code)
    assert not any(word in source for word in ("def ", "class ", "for ", "if ", "lambda"))
    assert "notebook.check_parameters()" in source
    assert notebook.cells[0].cell_type == "markdown"
