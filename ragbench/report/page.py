"""The report of a study: a notebook executed on it, its figures, and one HTML page that needs no other file."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial as bound
from html import escape
from pathlib import Path
from string import Template
from threading import Thread
from typing import TypeVar

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from traitlets import default
from traitlets.config import Config

from ragbench.files.csv_table import RecordError
from ragbench.files.whole_file import refuse_link
from ragbench.plots import load_study
from ragbench.processes.family import none_outlives
from ragbench.results.folder import CHECKOUT
from ragbench.results.paths import StudyPaths
from ragbench.results.records import write_atomic

NOTEBOOK = CHECKOUT / "notebooks" / "sweep.ipynb"
CELL_DEADLINE_S = 600
_CLEAN_UP_S = 3.0
T = TypeVar("T")

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; font: 1rem/1.5 system-ui, sans-serif; }
h1, h2 { line-height: 1.25; }
h2 { margin-top: 2.5rem; }
p, ul { max-width: 60rem; }
img { max-width: 100%; height: auto; }
code { font-size: 0.9em; background: #f3f3f3; padding: 0 0.2em; }
.anchor-link, .prompt { display: none; }
.output_html { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.8rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
</style>
</head>
<body>
$body
</body>
</html>
""")


class ReportError(RecordError):
    """A cell of the notebook failed; the message names it and the half-run notebook."""


def build(folder: Path) -> Path:
    """Execute the notebook on the results in `folder`; write figures, notebook and report.html; return the page's path.

    FileNotFoundError without a summary there, ReportError where a cell fails.
    """
    study = load_study(folder)
    return write_page(StudyPaths(study.folder), NOTEBOOK, title=f"{study.title} ({study.name})")


def write_page(paths: StudyPaths, notebook: Path, *, title: str) -> Path:
    """Execute `notebook` on the study's folder, keep it there, and write report.html; return the page's path.

    ReportError where a cell fails.
    """
    executed = _executed(paths, notebook)
    write_atomic(paths.notebooks / notebook.name, nbformat.writes(executed))
    write_atomic(paths.report, PAGE.substitute(title=escape(title), body=_body(executed)))
    return paths.report


def _executed(paths: StudyPaths, source: Path) -> nbformat.NotebookNode:
    """The notebook run in `notebooks/` of the study, its parameter relative: the folder can be moved and run again."""
    refuse_link(paths.notebooks)
    paths.notebooks.mkdir(exist_ok=True)
    partial = paths.notebooks / f"{source.stem}.partial.ipynb"
    partial.unlink(missing_ok=True)  # of a link in its place papermill would write the target
    with tempfile.TemporaryDirectory(prefix="ragbench-kernel-") as scratch:
        try:
            notebook = _on_thread(
                bound(
                    papermill.execute_notebook,
                    _literal(source),
                    _literal(partial),
                    parameters={"study": ".."},
                    cwd=paths.notebooks,
                    kernel_name="python3",
                    progress_bar=sys.stderr.isatty(),
                    execution_timeout=CELL_DEADLINE_S,
                    kernel_manager_class=_own_kernel(Path(scratch)),
                )
            )
        except PapermillExecutionError as error:
            code, why = error.source.strip().splitlines()[-1], " ".join(error.evalue.split())
            raise ReportError(
                f"cell {error.exec_count} of {source.name} failed at `{code}`: {error.ename}: {why} "
                f"(the notebook up to there: {partial})"
            ) from None
    partial.unlink()
    # Paths of this machine do not belong into what is passed on.
    notebook.metadata.papermill.update(input_path=source.name, output_path=source.name)
    return notebook


def _own_kernel(scratch: Path) -> type[AsyncKernelManager]:
    """A kernel manager that starts this interpreter with this ragbench, and keeps what a kernel writes in `scratch`.

    Left to itself jupyter takes the first kernel named python3 it finds, which may be another environment's, and
    writes connection files and a profile into the user's home.
    """
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # seen from here, not from the kernel's folder
    path = os.pathsep.join([str(CHECKOUT), *(os.path.abspath(folder) for folder in given if folder)])
    # It starts in a folder of results, where anybody's modules may lie: none is imported, by Python or by IPython.
    spec = get_kernel_dict(["--log-level=ERROR", "--InteractiveShellApp.ignore_cwd=True"])
    environment = {"IPYTHONDIR": str(scratch / "ipython"), "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}

    class OwnKernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(argv=spec["argv"], language="python", metadata=spec["metadata"], env=environment)

        @default("connection_file")
        def _connection_file(self) -> str:
            return str(scratch / "kernel.json")

    return OwnKernel


def _literal(path: Path) -> str:
    """A path for papermill, which takes names in braces for parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _on_thread(work: Callable[[], T]) -> T:
    """The result of `work` on a thread, as on the main one nbclient handles SIGINT and SIGTERM itself.

    Processes that `work` leaves behind, as when a signal ends the wait, are killed.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)
        finally:
            with suppress(RuntimeError):  # raised where there is none
                asyncio.get_event_loop().close()  # jupyter_core opens one a thread, and leaves it open

    thread = Thread(target=run, name="notebook", daemon=True)
    thread.start()
    try:
        with none_outlives():
            return done.result()
    finally:
        thread.join(_CLEAN_UP_S)


def _body(notebook: nbformat.NotebookNode) -> str:
    """The executed notebook as an HTML fragment: text, tables and pictures, no code.

    The `basic` template is used because the others load MathJax, RequireJS and Mermaid from the network.
    """
    exporter = HTMLExporter(template_name="basic", config=Config({"HTMLExporter": {"exclude_input": True}}))
    body, _ = exporter.from_notebook_node(notebook)
    return str(body)
