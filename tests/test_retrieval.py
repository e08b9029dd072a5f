"""The tables of docs/retrieval.md and the README's of retrieval, against the study that they are made from."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
BACKENDS = ("numpy", "torch", "faiss")


def cells(grid: str) -> pd.DataFrame:
    rows = pd.read_csv(ROOT / "results" / "reference-retrieval" / "summary.csv")
    return rows[(rows["grid"] == grid) & (rows["status"] == "ok")]


def exact() -> list[str]:
    """A row a metric and number of dimensions: plain numpy's time, and how many times as fast the others are."""
    rows = cells("exact")
    lines = []
    for (metric, d), mine in rows[rows.batch == 32].groupby(["metric", "d"], sort=False):
        search_s = mine.set_index("backend").search_s
        faster = " | ".join(f"{search_s['plain'] / search_s[name]:.1f}" for name in BACKENDS)
        lines.append(f"| {metric} | {d} | {search_s['plain'] * 1e3:.3g} ms | {faster} |")
    return lines


def million() -> list[str]:
    """A row a backend: time and share of the roofline, alone and in batches of 32."""
    lines = []
    for backend, mine in cells("million").groupby("backend", sort=False):
        told = [
            f"{row.search_s * 1e3:.0f} ms | {row.of_roofline:.0%}" for row in mine.sort_values("batch").itertuples()
        ]
        lines.append(f"| {backend} | {' | '.join(told)} |")
    return lines


def file() -> list[str]:
    """The one row of the grid."""
    (row,) = cells("file").itertuples()
    size_mib = row.n * row.d * 4 / (1 << 20)
    return [
        f"| {size_mib:.0f} MiB | {row.memory_mib:.0f} MiB | {row.peak_mib:.0f} MiB | {row.search_s:.2f} s "
        f"| {row.recall_at_k:.1f} | {row.max_relative_error:.1e} |"
    ]


def recall() -> list[str]:
    """A row an index, nprobe and backend, of a million vectors."""
    lines = []
    rows = pd.concat([cells("recall-million"), cells("recall-million-codes")])
    for (index, nprobe, backend), mine in rows.groupby(["index", "nprobe", "backend"]):
        rate = mine.set_index("batch").queries_per_s
        row = mine.iloc[0]
        lines.append(
            f"| {index} | {nprobe:.0f} | {backend} | {row.recall_at_k:.3f} | {rate[1]:.0f} | {rate[1000]:.0f} "
            f"| {row.index_mib:.0f} MiB | {row.build_s:.0f} s |"
        )
    return lines


def kmeans() -> list[str]:
    """A row a metric and number of clusters: time, and time and inertia as a share of FAISS's."""
    lines = []
    for (metric, clusters), mine in cells("kmeans").groupby(["metric", "clusters"], sort=False):
        of = mine.set_index("backend")
        ours = " | ".join(f"{of.search_s[name] / of.search_s['faiss']:.2f}" for name in ("numpy", "torch"))
        share = of.inertia["numpy"] / of.inertia["faiss"]
        lines.append(f"| {metric} | {clusters:.0f} | {of.search_s['faiss']:.2f} s | {ours} | {share:.3f} |")
    return lines


TABLES = [exact, million, file, recall, kmeans]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_the_tables_are_those_measured(table: Callable[[], list[str]]) -> None:
    lines = table()
    assert lines
    assert "\n".join(lines) in (ROOT / "docs" / "retrieval.md").read_text()


def test_the_readme_has_the_table_of_a_million_vectors() -> None:
    assert "\n".join(million()) in (ROOT / "README.md").read_text()
