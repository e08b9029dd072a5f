"""The report of a retrieval study: notebooks/retrieval.ipynb executed on it, its figures, one HTML page."""

from pathlib import Path

from ragbench.report.page import write_page
from ragbench.results.folder import CHECKOUT
from ragbench.results.paths import RetrievalPaths
from ragbench.retrieval.results import load_results

NOTEBOOK = CHECKOUT / "notebooks" / "retrieval.ipynb"


def build(folder: Path) -> Path:
    """Write figures, notebook and report.html into the results `folder`; return the page's path.

    FileNotFoundError without a summary there, ReportError where a cell fails.
    """
    results = load_results(folder)
    return write_page(RetrievalPaths(results.folder), NOTEBOOK, title=f"{results.title} ({results.name})")
