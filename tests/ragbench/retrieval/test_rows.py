from pathlib import Path

import pytest

from ragbench.results.records import RecordError
from ragbench.retrieval.cells import cells_of
from ragbench.retrieval.roofline import ROOFS, Roof, read_roofs, reported_roofs
from ragbench.retrieval.rows import ROWS, Row, load_rows, read_rows
from ragbench.retrieval.study import Grid, Study

RESULTS = Path(__file__).parents[3] / "results"
RETRIEVAL = [path for path in sorted(RESULTS.glob("*/summary.csv")) if path.read_text().startswith("grid,")]
SEARCH, TRAINING = cells_of(
    Study(
        name="mine",
        grids={
            "a": Grid(metric=("ip",), n=(50,), d=(2,), backend=("numpy",), memory_mib=(64,)),
            "b": Grid(metric=("l2",), n=(50,), d=(2,), backend=("numpy",), task=("kmeans",), clusters=(3,)),
        },
    ),
    threads=2,
)
RATES = {"device": "cpu", "name": "AMD, EPYC", "copy_gb_per_s": 24.1, "matmul_gflop_per_s": {"float32": 1.0}}
TOLD = {"status": "ok", "reason": None, "search_s": 0.00012345678, "bytes_moved": 123456789012, "recall_at_k": 1.0}


def test_the_columns_are_those_agreed_on():
    assert ",".join(ROWS.columns) == (
        "grid,task,data,metric,n,d,k,batch,backend,index,device,dtype,nlist,nprobe,m,rerank,ef_search,storage,"
        "memory_mib,clusters,iterations,threads,seed,status,reason,repeats,build_s,search_s,search_min_s,search_max_s,"
        "queries_per_s,bytes_moved,flops,floor_s,of_roofline,recall_at_k,max_relative_error,index_mib,peak_mib,inertia,"
        "hardware"
    )


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = [
        Row.reported(SEARCH, TOLD, hardware="a machine"),
        Row.unmeasured(TRAINING, "failed", 'died, it said: "no"\nmemory', hardware="a machine"),
    ]
    path = tmp_path / "summary.csv"
    path.write_text(ROWS.text(rows))
    assert read_rows(path) == rows
    assert rows[1].reason == 'died, it said: "no" memory'
    table = load_rows(path)
    assert table["search_s"].tolist()[0] == 0.00012345678
    assert table["memory_mib"].isna().tolist() == [False, True]
    assert table["n"].sum() == 100
    assert read_rows(tmp_path / "absent.csv") == []


@pytest.mark.parametrize(
    "told",
    [{"status": "fine"}, {}, {"status": "ok", "search_s": "fast"}, {"status": "ok", "inertia": float("nan")}],
    ids=str,
)
def test_what_is_no_row_is_refused(told):
    with pytest.raises(ValueError, match="must be"):
        Row.reported(SEARCH, told, hardware="a machine")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("grid,task\n", "lacks the columns data, metric"),
        (ROWS.text([]).rstrip() + "\na,search,u,ip,x\n", "summary.csv"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, text, told):
    path = tmp_path / "summary.csv"
    path.write_text(text)
    with pytest.raises(RecordError, match=told):
        read_rows(path)


def test_roofs_are_read_as_they_were_written(tmp_path):
    roofs = [
        *reported_roofs({**RATES, "threads": 2, "matmul_gflop_per_s": {"float32": 150.2}}),
        *reported_roofs({**RATES, "device": "cuda", "matmul_gflop_per_s": {"float32": 40000.0, "float16": 400000.0}}),
    ]
    assert roofs[2] == Roof("cuda", "AMD, EPYC", None, 24.1, "float16", 400000.0)
    path = tmp_path / "roofline.csv"
    path.write_text(ROOFS.text(roofs))
    assert path.read_text().splitlines()[:2] == [
        "device,name,threads,copy_gb_per_s,dtype,matmul_gflop_per_s",
        'cpu,"AMD, EPYC",2,24.1,float32,150.2',
    ]
    assert read_roofs(path) == roofs
    assert read_roofs(tmp_path / "absent.csv") == []


@pytest.mark.parametrize("report", [{}, {**RATES, "copy_gb_per_s": 0}, {**RATES, "matmul_gflop_per_s": 5}], ids=str)
def test_rates_that_are_none_are_refused(report):
    with pytest.raises(ValueError, match="no rates"):
        reported_roofs(report)


@pytest.mark.parametrize("path", RETRIEVAL, ids=lambda path: path.parent.name)
def test_committed_summaries_can_be_read(path):
    assert len(read_rows(path)) == len(load_rows(path)) > 0
