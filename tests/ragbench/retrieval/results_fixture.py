"""Results folders of retrieval studies with made-up figures: those of the fake command. Measures nothing."""

from dataclasses import asdict
from pathlib import Path

from ragbench.results.paths import RetrievalPaths
from ragbench.retrieval.cells import cells_of
from ragbench.retrieval.roofline import ROOFS, Roof
from ragbench.retrieval.rows import ROWS, Row
from ragbench.retrieval.study_file import load_study
from tests.ragbench.fakes.retrieval import GB_PER_S, GFLOP_PER_S, figures

HARDWARE = "AMD EPYC, 2 cores, 23 GiB, no GPU"
SMALL = """
[study]
title = "Made-up searches"
[grids.exact]
metric = ["ip", "l1"]
n = [4000, 40000]
d = [2, 1024]
batch = [1, 32]
backend = ["plain", "numpy", "torch"]
[grids.recall]
metric = "l2"
n = 100000
d = 64
batch = 32
backend = ["numpy", "faiss"]
index = ["flat", "ivf", "ivf_pq", "hnsw"]
nlist = 300
nprobe = [1, 4, 16, 64]
m = 16
rerank = [0, 10]
ef_search = [16, 64]
[grids.kmeans]
task = "kmeans"
metric = "l2"
n = 10000
d = 64
backend = ["numpy", "torch"]
clusters = [4, 8, 16, 32, 64]
"""


def write_results(folder: Path, study: str = SMALL, *, devices: tuple[str, ...] = ("cpu",)) -> Path:
    """The folder of a whole study, given as TOML."""
    paths = RetrievalPaths(folder)
    folder.mkdir(parents=True)
    paths.study_toml.write_text(study)
    rows = [
        Row.reported(cell, figures(asdict(cell)), hardware=HARDWARE)
        for cell in cells_of(load_study(paths.study_toml), threads=2)
    ]
    roofs = [
        Roof(device, f"made-up {device}", 2 if device == "cpu" else None, GB_PER_S[device], "float32", rate)
        for device, rate in GFLOP_PER_S.items()
        if device in devices
    ]
    paths.summary.write_text(ROWS.text(rows))
    paths.roofline.write_text(ROOFS.text(roofs))
    return folder
