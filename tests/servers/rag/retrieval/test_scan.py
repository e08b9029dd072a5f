"""A scan's keys are within the margin of the exact ones, whatever it rounds; numba's loops work without a cache."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from servers.rag.retrieval import METRICS, Place
from servers.rag.retrieval.arrays import arrays_for
from servers.rag.retrieval.metrics import exact_keys, margin, squared_norms
from servers.rag.retrieval.numba_scan import NumbaScan
from servers.rag.retrieval.scan import Scan

ROOT = Path(__file__).parents[4]
SCANS = [("numpy", "float32"), ("torch", "float32"), ("torch", "float16"), ("torch", "bfloat16"), ("cupy", "float16")]


def allowed(metric: str, queries: np.ndarray, vectors: np.ndarray, dtype: str, halves: int) -> np.ndarray:
    norms = [np.sqrt(squared_norms(rows)) for rows in (queries, vectors)]
    d = vectors.shape[1]
    return margin(metric, dtype=dtype, halves=halves, dimensions=d, query_norms=norms[0], largest_norm=norms[1].max())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("library", "dtype"), SCANS)
@pytest.mark.parametrize("d", [3, 96, 4096])
def test_keys_are_within_the_margin(metric: str, library: str, dtype: str, d: int) -> None:
    rng = np.random.default_rng(d)
    for vectors in (rng.random((60, d), dtype=np.float32), rng.standard_normal((60, d), dtype=np.float32)):
        queries = vectors[:4] + np.float32(0.1)
        scan = Scan(arrays_for(library), metric, dtype)
        keys = scan.arrays.host(scan.keys(scan.ready(queries), scan.hold(vectors, squared_norms(vectors)))).T
        of, rows = (part.ravel() for part in np.indices(keys.shape))
        exact = exact_keys(metric, queries, of, vectors, rows).reshape(keys.shape)
        if metric == "l2":  # a scan's key is half of it, without the query's own norm
            exact = (exact + np.square(queries.astype(np.float64)).sum(axis=1)[:, None]) / 2
        assert (np.abs(keys - exact) <= allowed(metric, queries, vectors, dtype, scan.halves)[:, None]).all()


def test_the_margin_covers_parts_of_a_sum_that_are_added_in_half_precision() -> None:
    rng = np.random.default_rng(0)
    vectors = (1 + rng.random((500, 2048), dtype=np.float32) / 8).astype(np.float16)
    query = vectors[:1]
    parts = (vectors.astype(np.float32) * query.astype(np.float32)).reshape(500, 32, -1).sum(axis=2)
    total = np.zeros(500, dtype=np.float16)
    for part in parts.astype(np.float16).T:
        total += part
    exact = vectors.astype(np.float64) @ query[0].astype(np.float64)
    error = np.abs(total.astype(np.float64) - exact).max()
    wide, narrow = (allowed("ip", query, vectors, "float16", halves)[0] for halves in (32, 1))
    assert narrow < error <= wide


def test_numba_finds_all_that_reach_the_floor_where_there_was_no_room_at_first() -> None:
    vectors = np.random.default_rng(0).random((9000, 5), dtype=np.float32)
    scan = NumbaScan("l1", Place(threads=2))
    block, queries = scan.put(vectors, squared_norms(vectors)), scan.ready(vectors[:3])
    found = scan.find(queries, block, np.full(3, -9, np.float32), np.zeros(3, np.float32), 1)
    assert sorted(zip(found.queries.tolist(), found.rows.tolist(), strict=True)) == [
        (query, row) for query in range(3) for row in range(9000)
    ]
    exact = exact_keys("l1", vectors[:3], found.queries, vectors, found.rows)
    np.testing.assert_allclose(found.keys, exact, rtol=1e-6)


@pytest.mark.slow
def test_numba_works_where_nothing_can_be_kept_on_disk() -> None:
    """As another user's in a read-only image: none of numba's places for a cache will do."""
    script = """
import numpy as np
from servers.rag.retrieval import Spec, build
rows = np.eye(3000, 4, dtype=np.float32)
print(build("numba", rows, Spec(metric="l1")).search(rows[:1], 2)[0].tolist())
"""
    env = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    env.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "[[0, 4]]\n", done.stderr
