import re

import nbformat
import pytest

from ragbench.report import page
from tests.ragbench.results_fixture import write_study


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A report built from another folder than the repository, as a user may."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    folder = write_study(elsewhere / "small", designs={"scaled": [{}]}, arrivals=("ideal",), rates=(20, 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        file = page.build(folder.relative_to(elsewhere))
    return file, file.read_text(encoding="utf-8")


@pytest.mark.slow
def test_build_writes_page_notebook_and_figures_and_leaves_nothing_else(built):
    file, _ = built
    assert file.name == "report.html"
    assert [path.name for path in (file.parent / "notebooks").iterdir()] == ["sweep.ipynb"]
    assert {"latency.png", "latency.svg", "replicas.png"} <= {path.name for path in (file.parent / "figures").iterdir()}
    assert not [path for path in file.parent.rglob("*") if path.name.startswith(".")]


@pytest.mark.slow
def test_page_needs_nothing_from_the_network_or_the_disk(built):
    _, html = built
    assert "<script" not in html
    links = re.findall(r'(?:src|href|action|data)="([^"]{1,30})', html)
    assert len(links) > 10
    assert {link[:22] for link in links if not link.startswith("#")} == {"data:image/png;base64,"}
    assert "@import" not in html
    assert "url(" not in html


@pytest.mark.slow
def test_page_has_title_pictures_with_text_and_a_row_for_each_point(built):
    _, html = built
    assert "<title>Three designs on a made-up machine (small)</title>" in html
    shown = re.findall(r'<img alt="Figure: (\w+)" src="data:image/png', html)
    assert shown == ["latency", "throughput", "stages", "distribution", "replicas"]
    assert "nothing to show for <code>arrivals</code>" in html
    assert html.count("<td>scaled</td>") == 1 + 2
    assert "input_area" not in html
    assert "parameters" not in re.sub(r"celltag_\S+|cell-id=\S+", "", html)


@pytest.mark.slow
def test_results_name_no_folder_of_this_machine(built):
    file, html = built
    executed = (file.parent / "notebooks" / "sweep.ipynb").read_text(encoding="utf-8")
    for text in (html, executed):
        assert str(file.parent.parent) not in text
        assert str(page.CHECKOUT) not in text


def test_failing_cell_is_named(tmp_path, monkeypatch):
    folder = write_study(tmp_path / "it", designs={"mine": [{}]}, arrivals=("ideal",), rates=(20,), duration_s=1)
    cells = [nbformat.v4.new_code_cell('study = ""', metadata={"tags": ["parameters"]}), "x = 1", "1 / 0"]
    cells = [nbformat.v4.new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    broken = tmp_path / "broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}), broken)
    monkeypatch.setattr(page, "NOTEBOOK", broken)
    with pytest.raises(
        page.ReportError, match=r"cell 4 of broken.ipynb failed at `1 / 0`: ZeroDivisionError"
    ) as failed:
        page.build(folder)
    assert (folder / "notebooks" / "broken.partial.ipynb").is_file()
    assert "broken.partial.ipynb" in str(failed.value)
    assert not (folder / "report.html").exists()


def test_folder_without_results_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no study at"):
        page.build(tmp_path)
