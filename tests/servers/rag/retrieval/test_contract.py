"""The contract of every retrieval backend, against a float64 reference that sorts everything."""

import numpy as np
import pytest

from servers.rag.retrieval import BACKENDS, build


def reference(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """All scores in float64, rounded so that float32 noise makes no order; best first, ties by lowest id."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    ids = np.lexsort((np.broadcast_to(np.arange(len(vectors)), scores.shape), -scores.round(9)))[:, :k]
    return ids, np.take_along_axis(scores, ids, axis=1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("n", "d", "q", "k"), [(1, 1, 1, 1), (7, 3, 2, 7), (500, 32, 9, 5), (64, 2048, 3, 2)])
def test_matches_the_reference(backend: str, n: int, d: int, q: int, k: int) -> None:
    rng = np.random.default_rng(n + d)
    vectors, queries = (rng.standard_normal((rows, d)).astype(np.float32) for rows in (n, q))
    ids, scores = build(backend, vectors, "cpu").search(queries, k)
    expected_ids, expected_scores = reference(vectors, queries, k)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ties_go_to_the_lowest_id_even_at_the_edge(backend: str) -> None:
    vectors = np.array([[1.0], [2.0], [1.0], [2.0], [1.0], [0.0]], dtype=np.float32)
    ids, _ = build(backend, vectors, "cpu").search(np.array([[1.0], [-1.0]], dtype=np.float32), 4)
    assert ids.tolist() == [[1, 3, 0, 2], [5, 0, 2, 4]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_k_is_clipped_to_the_number_of_vectors(backend: str) -> None:
    ids, scores = build(backend, np.eye(3, dtype=np.float32), "cpu").search(np.eye(3, dtype=np.float32)[:1], 10)
    assert ids.tolist() == [[0, 1, 2]]
    assert scores.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_query_that_is_not_finite_is_an_error(backend: str) -> None:
    index = build(backend, np.eye(3, dtype=np.float32), "cpu")
    with pytest.raises(ValueError, match="must be finite"):
        index.search(np.array([[np.nan, 0, 0], [0, 1, 0]], dtype=np.float32), 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_takes_views_and_half_precision(backend: str) -> None:
    wide = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32)
    half = wide[::2, ::2].astype(np.float16)
    ids, _ = build(backend, half, "cpu").search(half.astype(np.float32), 1)
    expected, _ = reference(half, half, 1)
    np.testing.assert_array_equal(ids, expected)
