import re

import pytest

from ragbench.retrieval import report
from tests.ragbench.retrieval.results_fixture import write_results


@pytest.mark.slow
def test_page_notebook_and_figures_and_no_folder_of_this_machine(tmp_path):
    folder = write_results(tmp_path / "small")
    page = report.build(folder)
    html = page.read_text(encoding="utf-8")
    assert page == folder / "report.html"
    assert "<title>Made-up searches (small)</title>" in html
    assert re.findall(r'<img alt="Figure: (\w+)" src="data:image/png', html) == [
        *("speedup", "growth", "recall", "memory", "elbow", "roofline")
    ]
    assert "No row of this study was measured on a GPU" in html
    assert [path.name for path in (folder / "notebooks").iterdir()] == ["retrieval.ipynb"]
    executed = (folder / "notebooks" / "retrieval.ipynb").read_text(encoding="utf-8")
    for text in (html, executed):
        assert str(tmp_path) not in text
        assert str(report.CHECKOUT) not in text


def test_folder_without_results_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no study at"):
        report.build(tmp_path)
