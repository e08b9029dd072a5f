"""The report of a stranger's results: nothing in it is markup but our own, and none of its files is run."""

import json
from html.parser import HTMLParser

import pytest
from IPython.display import HTML, Markdown
from nbconvert.filters import markdown2html

from ragbench.compare.cells import compare, frame
from ragbench.compare.crossover import crossovers
from ragbench.compare.pairs import make_pairs
from ragbench.compare.sides import parse_side
from ragbench.compare.wording import footnotes, sentences
from ragbench.report import notebook, page
from ragbench.retrieval.article import Article
from ragbench.retrieval.results import load_results
from tests.ragbench.compare_fixture import write_runs
from tests.ragbench.results.test_odd_records import changed
from tests.ragbench.results_fixture import write_study
from tests.ragbench.retrieval.results_fixture import write_results

pytestmark = pytest.mark.attack
HOSTILE = "<hostile-x onload=alert(1)>`[x](javascript:alert(2))![y](z)</code></td></title><script>**$x_{"
OURS = "body div em h1 h2 head html img meta p strong style table tbody td th thead title tr ul li a code span br pre"


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs


def is_harmless(text):
    found = Page(text)
    assert found.tags <= set(OURS.split())
    for name, value in found.attributes:
        assert not name.startswith("on")
        assert name != "src" or value.startswith("data:image/png;base64,")
        assert name != "href" or value.startswith("#"), value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study all of whose names and texts are markup, beside modules of names that a notebook imports."""
    root = write_study(
        tmp_path_factory.mktemp("theirs") / HOSTILE.replace("/", "|"),
        designs={"x" + HOSTILE.replace("/", "|"): [{"mark": HOSTILE.replace("/", "|")}]},
        arrivals=("poisson",),
        rates=(20, 40),
    )
    changed(root / "summary.csv", hardware=HOSTILE, verdict_reason=HOSTILE, hostname=HOSTILE, verdict="failing")
    for path in root.glob("*/requests.csv"):
        changed(path, question=HOSTILE, result=HOSTILE, error=HOSTILE, close_reason=HOSTILE, replica=HOSTILE)
    (root / "study.toml").write_text(f"[study]\ntitle = {json.dumps(HOSTILE)}\n")
    (root / "notebooks").mkdir()
    for module in ("pandas", "matplotlib", "numpy", "IPython", "sitecustomize", "ipykernel_launcher", "json"):
        trap = f"open({str(root.parent / 'ran')!r}, 'a').write({module!r})\nraise ImportError({module!r})\n"
        (root / "notebooks" / f"{module}.py").write_text(trap)
    (root.parent / "outside").write_text("kept")
    (root / "notebooks" / "sweep.partial.ipynb").symlink_to(root.parent / "outside")
    return root


@pytest.mark.slow
def test_a_report_holds_no_markup_of_theirs_and_runs_no_file_of_theirs(folder):
    html = page.build(folder).read_text(encoding="utf-8")
    assert not (folder.parent / "ran").exists()
    assert (folder.parent / "outside").read_text() == "kept"
    is_harmless(html)
    assert "&lt;hostile-x" in html


def shown(*parts):
    return "".join(part.data if isinstance(part, HTML) else markdown2html(part.data) for part in parts)


def test_the_article_of_a_retrieval_study_holds_no_markup_of_theirs(tmp_path, monkeypatch):
    folder = write_results(tmp_path / HOSTILE.replace("/", "|"))
    texts = dict.fromkeys(("grid", "metric", "data", "backend", "hardware", "reason"), HOSTILE)
    changed(folder / "summary.csv", **texts)
    changed(folder / "roofline.csv", name=HOSTILE)
    (folder / "study.toml").write_text(f"[study]\ntitle = {json.dumps(HOSTILE)}\n")
    told = Article(load_results(folder), ())
    parts = [told.about, *(told.finding(name) for name in ("speedup", "gpu", "growth", "recall", "memory", "roofline"))]
    monkeypatch.setattr("ragbench.retrieval.article.display", lambda *displayed: parts.extend(displayed))
    told.tables()
    is_harmless(shown(*parts))


def test_what_a_comparison_says_holds_no_markup_of_theirs(tmp_path):
    name = HOSTILE.replace("/", "|").replace(":", ";").replace("@", "")
    folders = [write_runs(tmp_path / f"{side}{name}", {f"x{name}": lambda rate: 0.01}) for side in "ab"]
    found = compare(make_pairs(*(parse_side(str(folder)) for folder in folders)))
    lines = [*sentences(found), *footnotes(found), *map(str, crossovers(found))]
    is_harmless(shown(notebook.as_list(lines), notebook.table(frame(found))))


def test_lines_of_others_are_words(tmp_path):
    assert isinstance(notebook.as_list([HOSTILE]), Markdown)
    is_harmless(shown(notebook.as_list([HOSTILE, "<b>", "# x", "| a | b |\n|---|---|"])))
