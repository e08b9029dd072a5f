"""A scan's keys are within the margin of the exact ones, whatever it rounds."""

import numpy as np
import pytest

from servers.rag.retrieval import METRICS
from servers.rag.retrieval.arrays import arrays_for
from servers.rag.retrieval.metrics import exact_keys, margin, squared_norms
from servers.rag.retrieval.scan import Scan

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
