"""FAISS's indexes but flat, which is in the contract: recall, ranking again, changes, saved and loaded."""

from pathlib import Path

import numpy as np
import pytest

from servers.rag.retrieval import Spec, build, load
from servers.rag.retrieval.faiss_backend import FaissIndex

pytest.importorskip("faiss")
K = 10
_centres = np.random.default_rng(0).standard_normal((20, 16), dtype=np.float32)
VECTORS = np.concatenate(
    [c + 0.3 * np.random.default_rng(1).standard_normal((100, 16), dtype=np.float32) for c in _centres]
)
QUERIES = VECTORS[::50] + np.float32(0.01)
SPECS = {
    "ivf": Spec(metric="l2", kind="ivf", nlist=20, nprobe=4),
    "ivf_pq": Spec(metric="l2", kind="ivf_pq", nlist=20, nprobe=4, m=4, rerank=20),
    "hnsw": Spec(metric="l2", kind="hnsw", ef_search=64),
}
kinds = pytest.mark.parametrize("kind", SPECS)


def made(kind: str) -> FaissIndex:
    index = build("faiss", VECTORS, SPECS[kind], threads=1)
    assert isinstance(index, FaissIndex)
    return index


def recall(ids: np.ndarray) -> float:
    exact, _ = build("numpy", VECTORS, Spec(metric="l2")).search(QUERIES, K)
    return float(np.mean([len(np.intersect1d(*pair)) / K for pair in zip(ids, exact, strict=True)]))


@kinds
def test_most_neighbours_are_found_with_their_exact_distances_best_first(kind: str) -> None:
    ids, scores = made(kind).search(QUERIES, K)
    assert recall(ids) > 0.9
    exact = np.linalg.norm(QUERIES[:, None].astype(np.float64) - VECTORS[ids], axis=2)
    np.testing.assert_allclose(scores, exact, rtol=1e-6)
    assert (np.diff(scores, axis=1) >= 0).all()


def test_ranking_codes_again_finds_more() -> None:
    index = made("ivf_pq")
    by_codes, by_vectors = (recall(index.search(QUERIES, K, rerank=rerank)[0]) for rerank in (0, 20))
    assert by_codes < by_vectors - 0.1


@kinds
def test_a_saved_index_is_not_built_again(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = made(kind)
    wanted = index.search(QUERIES, K)
    index.save(tmp_path)
    monkeypatch.setattr(FaissIndex, "_made", None)
    for found, expected in zip(load(tmp_path, "faiss", threads=1).search(QUERIES, K), wanted, strict=True):
        np.testing.assert_array_equal(found, expected)


@kinds
def test_what_is_added_is_found_and_what_is_removed_is_not(kind: str) -> None:
    index = made(kind)
    [added] = index.add(QUERIES[:1])
    assert added == len(VECTORS)
    assert index.search(QUERIES[:1], 1)[0][0, 0] == added
    assert index.remove(np.array([added, 10**6])) == 1
    assert added not in index.search(QUERIES[:1], K)[0]
