"""k-means: its laws by property test, its quality beside FAISS's."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.rag.retrieval import kmeans as module
from servers.rag.retrieval.arrays import LIBRARIES, Arrays, arrays_for
from servers.rag.retrieval.kmeans import assign, kmeans

NUMPY = arrays_for("numpy")


def mixture(n: int, d: int, clusters: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((clusters, d))
    return (means[rng.integers(clusters, size=n)] + 0.4 * rng.standard_normal((n, d))).astype(np.float32)


@pytest.fixture(params=LIBRARIES)
def arrays(request: pytest.FixtureRequest) -> Arrays:
    return arrays_for(request.param)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_assignments_and_inertia_are_those_of_the_nearest_centroids(arrays: Arrays, metric: str) -> None:
    vectors = mixture(700, 6, 9) + np.float32(3)
    found = kmeans(vectors, 9, rng=np.random.default_rng(1), arrays=arrays, metric=metric)
    a, b = vectors.astype(np.float64), found.centroids.astype(np.float64)
    if metric == "cosine":
        np.testing.assert_allclose(np.linalg.norm(b, axis=1), 1, rtol=1e-6)
        costs = 1 - (a / np.linalg.norm(a, axis=1)[:, None]) @ b.T
    else:
        costs = np.square(a[:, None] - b).sum(axis=2)
    assert np.array_equal(found.assignments, costs.argmin(axis=1))
    assert found.inertia == pytest.approx(costs.min(axis=1).sum(), rel=1e-4)
    assert 1 <= len(found.history) <= 10


def test_two_far_groups_get_their_means(arrays: Arrays) -> None:
    vectors = np.array([[0, 0], [0, 2], [100, 0], [100, 2], [100, 4]], dtype=np.float32)
    found = kmeans(vectors, 2, rng=np.random.default_rng(0), arrays=arrays)
    assert sorted(found.centroids.tolist()) == [[0, 1], [100, 2]]
    assert found.inertia == pytest.approx(10)


def test_the_same_seed_gives_the_same_clusters_and_another_seed_others(arrays: Arrays) -> None:
    vectors = mixture(500, 5, 20)
    one, two, other = (kmeans(vectors, 20, rng=np.random.default_rng(seed), arrays=arrays) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.centroids, two.centroids)
    assert one.history == two.history
    assert not np.array_equal(one.centroids, other.centroids)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 4), st.integers(0, 99), st.sampled_from(["l2", "cosine"]))
def test_inertia_never_rises(n: int, k: int, d: int, seed: int, metric: str) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-3, 4, size=(n, d)).astype(np.float32)
    found = kmeans(vectors, min(k, n), rng=rng, arrays=NUMPY, metric=metric, iterations=8, tolerance=0)
    steps = [*found.history, found.inertia]
    assert all(after <= before + 1e-4 for before, after in pairwise(steps)), steps
    assert np.isfinite(found.centroids).all()


def test_empty_clusters_go_to_the_farthest_points(arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three centroids start where no point is nearest to them."""
    start = np.array([[0, 0], [9000, 9000], [9000, 9000]], dtype=np.float32)
    monkeypatch.setattr(module, "_start", lambda points, k, rng, arrays: arrays.put(start))
    vectors = np.repeat(np.array([[0.0, 0], [50, 0], [0, 90]], dtype=np.float32), [10, 5, 5], axis=0)
    found = kmeans(vectors, 3, rng=np.random.default_rng(0), arrays=arrays)
    assert sorted(found.centroids.tolist()) == [[0, 0], [0, 90], [50, 0]]
    assert found.inertia == pytest.approx(0, abs=1e-6)


def test_fewer_different_vectors_than_clusters(arrays: Arrays) -> None:
    found = kmeans(np.ones((8, 2), dtype=np.float32), 5, rng=np.random.default_rng(0), arrays=arrays)
    assert found.inertia == 0
    np.testing.assert_array_equal(found.centroids, np.ones((5, 2)))


def test_zero_vectors_have_a_cluster_by_cosine(arrays: Arrays) -> None:
    vectors = np.array([[0, 0], [1, 0], [2, 0.1], [0, 5], [0.1, 3]], dtype=np.float32)
    found = kmeans(vectors, 2, rng=np.random.default_rng(0), arrays=arrays, metric="cosine")
    assert np.isfinite(found.centroids).all()
    assert set(found.assignments.tolist()) <= {0, 1}


def test_a_mapped_file_trains_on_a_sample(tmp_path: Path) -> None:
    vectors = mixture(4000, 8, 10)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    found = kmeans(mapped, 10, rng=np.random.default_rng(0), arrays=NUMPY, sample=50)
    whole = kmeans(vectors, 10, rng=np.random.default_rng(0), arrays=NUMPY, sample=None)
    assert len(found.assignments) == 4000
    assert found.history[-1] < 0.2 * whole.history[-1]  # the history is that of 500 points
    assert found.inertia < 1.1 * whole.inertia


def test_vectors_far_from_the_origin_are_told_apart(arrays: Arrays) -> None:
    vectors = np.array([[10_000 + x] for x in (0, 0.1, 1, 1.1)], dtype=np.float32)
    labels, losses = assign(vectors, vectors[[0, 2]], metric="l2", arrays=arrays)
    assert labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(losses, [0, 0.01, 0, 0.01], atol=2e-3)


@pytest.mark.parametrize("k", [0, 4])
def test_k_outside_of_the_vectors_is_an_error(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k must be in 1..3, the number of vectors, got {k}"):
        kmeans(np.eye(3, dtype=np.float32), k, rng=np.random.default_rng(0), arrays=NUMPY)


def test_a_metric_without_means_is_an_error() -> None:
    with pytest.raises(ValueError, match="metric must be l2 or cosine, got 'ip'"):
        kmeans(np.eye(3, dtype=np.float32), 2, rng=np.random.default_rng(0), arrays=NUMPY, metric="ip")


@pytest.mark.parametrize("clusters", [40, 200])
def test_inertia_is_within_one_percent_of_faiss(clusters: int) -> None:
    faiss = pytest.importorskip("faiss")
    vectors = mixture(10_000, 16, clusters)
    theirs = faiss.Kmeans(16, 64, niter=12, seed=5)
    theirs.train(vectors)
    distances, _ = theirs.index.search(vectors, 1)
    ours = kmeans(vectors, 64, rng=np.random.default_rng(5), arrays=NUMPY, iterations=12, tolerance=0)
    assert ours.inertia <= 1.01 * distances.sum(dtype=np.float64)
