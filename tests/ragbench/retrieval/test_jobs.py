import itertools

import pytest

from ragbench.retrieval.cells import cells_of
from ragbench.retrieval.jobs import jobs_of, read_message
from ragbench.retrieval.study import Grid, Study

EXACT = {"metric": ("ip", "l2"), "n": (40, 400), "d": (8,), "backend": ("numpy", "torch")}


def study(grid):
    return Study(name="mine", grids={"a": grid}, threads=2, repeats=3, budget_s=10.0, job_timeout_s=100.0)


def cells(grid):
    return cells_of(study(grid), threads=1)


def test_lists_are_multiplied_out():
    found = cells(Grid(**EXACT, batch=(1, 32)))
    assert len(found) == len(set(found)) == 2 * 2 * 2 * 2
    assert {(cell.metric, cell.n, cell.backend, cell.batch) for cell in found} == set(
        itertools.product(("ip", "l2"), (40, 400), ("numpy", "torch"), (1, 32))
    )


def test_settings_that_do_not_concern_a_cell_do_not_multiply_it():
    every = Grid(
        metric=("l2",),
        n=(400,),
        d=(8,),
        backend=("faiss",),
        task=("search", "kmeans"),
        index=("flat", "ivf", "ivf_pq", "hnsw"),
        nlist=(4, 8),
        nprobe=(1, 2),
        m=(2, 4),
        rerank=(0, 10),
        ef_search=(16, 32, 64),
        clusters=(2, 3),
        iterations=(5,),
    )
    found = cells(every)
    count = {index: sum(cell.index == index for cell in found) for index in ("flat", "ivf", "ivf_pq", "hnsw", None)}
    assert count == {"flat": 1, "ivf": 4, "ivf_pq": 16, "hnsw": 3, None: 2}
    assert len(set(found)) == len(found)
    (flat,) = [cell for cell in found if cell.index == "flat"]
    assert (flat.nlist, flat.nprobe, flat.m, flat.rerank, flat.ef_search, flat.clusters) == (None,) * 6
    assert {(cell.k, cell.batch, cell.iterations) for cell in found if cell.task == "kmeans"} == {(None, None, 5)}


def test_a_job_is_one_data_set_with_all_that_is_measured_on_it():
    grid = Grid(**EXACT, index=("flat", "ivf"), nlist=(4,), nprobe=(1, 2), k=(1, 10))
    jobs = jobs_of(study(grid), cells(grid))
    assert [(job.cells[0].metric, job.cells[0].n) for job in jobs] == [("ip", 40), ("ip", 400), ("l2", 40), ("l2", 400)]
    assert jobs[0].timeout_s == 100.0 + 12 * 10.0
    assert jobs[0].as_dict() == {
        "grid": "a",
        "task": "search",
        "data": "uniform",
        "n": 40,
        "d": 8,
        "metric": "ip",
        "storage": "memory",
        "memory_mib": None,
        "seed": 0,
        "threads": 2,
        "repeats": 3,
        "budget_s": 10.0,
        "contenders": [
            {
                "backend": backend,
                "index": index,
                "device": "cpu",
                "dtype": "float32",
                "nlist": nlist,
                "m": None,
                "points": [
                    {"k": k, "batch": 1, "nprobe": nprobe, "rerank": None, "ef_search": None}
                    for nprobe in nprobes
                    for k in (1, 10)
                ],
            }
            for index, nlist, nprobes in (("flat", None, (None,)), ("ivf", 4, (1, 2)))
            for backend in ("numpy", "torch")
        ],
    }


def test_a_job_of_kmeans_has_no_points():
    grid = Grid(**{**EXACT, "metric": ("cosine",), "n": (40,)}, task=("kmeans",), clusters=(2, 3))
    (job,) = jobs_of(study(grid), cells(grid))
    assert job.as_dict()["task"] == "kmeans"
    assert job.as_dict()["contenders"] == [
        {"backend": backend, "device": "cpu", "dtype": "float32", "clusters": clusters, "iterations": 20}
        for backend in ("numpy", "torch")
        for clusters in (2, 3)
    ]


def test_a_row_belongs_to_the_cell_with_its_settings():
    grid = Grid(**EXACT, batch=(1, 32))
    job = jobs_of(study(grid), cells(grid))[0]
    told = {"backend": "torch", "index": "flat", "device": "cpu", "dtype": "float32", "k": 10, "batch": 32}
    assert job.cell_of(told) == next(c for c in job.cells if c.backend == "torch" and c.batch == 32)
    assert job.cell_of({**told, "batch": 31}) is None
    assert job.cell_of({}) is None


def test_the_three_kinds():
    assert read_message(b'{"progress": "building"}') == ("progress", "building")
    assert read_message(b'{"row": {"n": 5}}\r') == ("row", {"n": 5})
    assert read_message(b'{"rates": {}}') == ("rates", {})


@pytest.mark.parametrize(
    "line", [b"Loading 100%", b"5", b"{}", b'{"row": 5}', b'{"progress": "x", "row": {}}', b"\xff", b"[" * 100_000]
)
def test_any_other_line_is_refused(line):
    with pytest.raises(ValueError, match="neither progress nor a row"):
        read_message(line)
