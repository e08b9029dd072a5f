import pandas as pd
import pytest

from ragbench.retrieval.findings import FINDINGS, number
from ragbench.retrieval.plots import FIGURES, save_all
from ragbench.retrieval.plots.looks import short
from ragbench.retrieval.results import load_results
from tests.ragbench.retrieval.results_fixture import HARDWARE, SMALL, write_results

GPU = """
[grids.gpu]
metric = "ip"
n = 40000
d = [2, 1024]
batch = [1, 32]
backend = ["torch", "numpy"]
device = "cuda"
"""
KMEANS = SMALL[SMALL.index("[grids.kmeans]") :]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return load_results(write_results(tmp_path_factory.mktemp("r") / "small"))


@pytest.fixture(scope="module")
def with_gpu(tmp_path_factory):
    return load_results(write_results(tmp_path_factory.mktemp("r") / "gpu", SMALL + GPU, devices=("cpu", "cuda")))


def test_every_figure_has_a_finding():
    assert list(FIGURES) == list(FINDINGS)


@pytest.mark.slow
def test_figures_are_written_and_stale_ones_removed(small):
    stale = small.folder / "figures" / "gpu.png"
    stale.parent.mkdir(exist_ok=True)
    stale.touch()
    names = {path.name for path in save_all(small)}
    assert names == {f"{name}.{kind}" for name in FIGURES if name != "gpu" for kind in ("png", "svg", "drawn.csv")}
    assert {path.name for path in stale.parent.iterdir()} == names


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_names_its_study_and_its_machine(with_gpu, name):
    texts = {text.get_gid(): text.get_text().replace("\n", " ") for text in FIGURES[name](with_gpu).texts}
    assert texts["title"]
    assert texts["caption"].endswith(f"Study gpu, threads 2, measured on {HARDWARE}.")


@pytest.mark.parametrize("name", FIGURES)
def test_a_study_of_kmeans_alone_has_no_figure_of_searches(tmp_path, name):
    results = load_results(write_results(tmp_path / "k", KMEANS))
    assert (FIGURES[name](results) is not None) == (name in ("elbow", "roofline"))
    assert bool(FINDINGS[name](results)) == (name in ("elbow", "roofline", "gpu"))


@pytest.mark.parametrize("name", FIGURES)
def test_rows_that_failed_are_in_no_figure(tmp_path, name):
    folder = write_results(tmp_path / "f")
    table = pd.read_csv(folder / "summary.csv").assign(status="failed", reason="it broke")
    table.to_csv(folder / "summary.csv", index=False)
    assert FIGURES[name](load_results(folder)) is None


def test_points_lie_where_the_rows_say(small):
    axes = next(axes for axes in FIGURES["speedup"](small).axes if axes.get_title() == "l1, batch 32")
    drawn = {line.get_gid(): line.get_ydata() for line in axes.lines if line.get_gid()}
    rows = small.searches.query("metric == 'l1' and batch == 32 and n == 40000 and index == 'flat'").set_index(
        ["backend", "d"]
    )["search_s"]
    for backend in ("numpy", "torch"):
        assert list(drawn[backend]) == pytest.approx([rows["plain", d] / rows[backend, d] for d in (2, 1024)])
    axes = next(axes for axes in FIGURES["growth"](small).axes if axes.get_title() == "ip, batch 1")
    assert {tuple(line.get_xdata()) for line in axes.lines} == {(4000.0, 40000.0)}


def test_findings_are_computed(with_gpu):
    told = {name: "\n".join(find(with_gpu)) for name, find in FINDINGS.items()}
    assert "ip, batch 32, times as fast as plain: torch 26 at d 2 and torch 30 at d 1,024." in told["speedup"]
    assert "ip, batch 32, times as fast as the fastest on the CPU: torch" in told["gpu"]
    assert "torch n^1.00" in told["growth"]
    assert "hnsw never comes so far (0.88 at best)" in told["recall"]
    assert "the smallest index is ivf_pq of numpy, 3.97 MiB, 16% of the smallest flat one" in told["memory"]
    assert (
        "inertia bends most at 16 clusters. 64 clusters are found fastest by torch, in 0.0283 s; numpy takes 1.19"
        in told["elbow"]
    )
    assert "cpu: nearest is faiss at 80% (flat search, batch 32" in told["roofline"]


def test_a_study_without_a_gpu_says_so(small, tmp_path):
    (line,) = FINDINGS["gpu"](small)
    assert line.startswith("No row of this study was measured on a GPU:")
    only = GPU.replace('["torch", "numpy"]', '"numpy"')
    (line,) = FINDINGS["gpu"](load_results(write_results(tmp_path / "skipped", SMALL + only)))
    assert line.startswith("No row of this study was measured on a GPU (skipped: numpy knows no cuda):")


def test_numbers_are_short():
    assert [number(x) for x in (0.01234, 4.2, 31.4, 12345.6)] == ["0.0123", "4.2", "31", "12,300"]
    assert [short(x) for x in (5, 4000, 2.5e6)] == ["5", "4k", "2.5M"]
