"""Inverted files over every scan: exact where all lists are looked into, and nearly so where some are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from servers.rag.retrieval import store
from servers.rag.retrieval.arrays import arrays_for
from servers.rag.retrieval.ivf import Ivf
from servers.rag.retrieval.scan import Scan
from servers.rag.retrieval.spec import Spec

SCANS: dict[str, Callable[[str], Scan]] = {
    "numpy": lambda metric: Scan(arrays_for("numpy"), metric),
    "torch": lambda metric: Scan(arrays_for("torch"), metric),
    "cupy": lambda metric: Scan(arrays_for("cupy"), metric),
}
WORST = {"ip": -np.inf, "cosine": -np.inf, "l2": np.inf}


@pytest.fixture(params=WORST)
def metric(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SCANS)
def scan(request: pytest.FixtureRequest, metric: str) -> Scan:
    return SCANS[request.param](metric)


def mixture(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((30, d))
    return (means[rng.integers(30, size=n)] + 0.5 * rng.standard_normal((n, d))).astype(np.float32)


def reference(metric: str, vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Every score in float64, best first as float32 shows them, ties by lowest id."""
    a, b = queries.astype(np.float64), vectors.astype(np.float64)
    keys = -np.sqrt(np.square(a[:, None] - b).sum(axis=2)) if metric == "l2" else a @ b.T
    if metric == "cosine":
        lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
        keys = np.divide(keys, lengths, out=np.zeros_like(keys), where=lengths > 0)
    ids = np.argsort(-keys.astype(np.float32), axis=1, kind="stable")[:, :k]
    return ids, np.abs(np.take_along_axis(keys, ids, axis=1)) if metric == "l2" else np.take_along_axis(
        keys, ids, axis=1
    )


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean([np.isin(w, f).mean() for f, w in zip(found, wanted, strict=True)]))


def test_with_every_list_it_is_exact_ties_and_zeros_and_all(scan: Scan, metric: str) -> None:
    vectors = mixture(900, 12)
    vectors[100:160], vectors[7], vectors[400:430] = vectors[50], 0, 0
    queries = np.concatenate([vectors[[50, 7]], mixture(40, 12, seed=9)])
    index = Ivf.build(vectors, Spec(metric, "ivf", nlist=25), scan)
    wanted_ids, wanted = reference(metric, vectors, queries, 20)
    for count in (1, 3, len(queries)):
        ids, scores = index.search(queries[:count], 20, nprobe=25)
        np.testing.assert_array_equal(ids, wanted_ids[:count])
        np.testing.assert_allclose(scores, wanted[:count], rtol=1e-5, atol=1e-6)
        assert (ids.dtype, scores.dtype) == (np.int64, np.float32)


def test_whole_numbers_tie_by_lowest_id_across_lists(scan: Scan, metric: str) -> None:
    vectors = np.random.default_rng(0).integers(-1, 2, size=(600, 3)).astype(np.float32)
    index = Ivf.build(vectors, Spec(metric, "ivf", nlist=12), scan)
    ids, _ = index.search(vectors[:9], 50, nprobe=12)
    np.testing.assert_array_equal(ids, reference(metric, vectors, vectors[:9], 50)[0])


def test_recall_grows_with_nprobe(scan: Scan, metric: str) -> None:
    vectors, queries = mixture(3000, 16), mixture(50, 16, seed=0)
    index = Ivf.build(vectors, Spec(metric, "ivf", nlist=50, nprobe=50), scan)
    wanted, _ = reference(metric, vectors, queries, 10)
    found = [recall(index.search(queries, 10, nprobe=nprobe)[0], wanted) for nprobe in (1, 4, 16)]
    found.append(recall(index.search(queries, 10)[0], wanted))
    assert found == sorted(found)
    assert found[0] < 0.95 < found[2]
    assert found[3] == 1


def test_places_that_nothing_is_found_for(scan: Scan, metric: str) -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)
    index = Ivf.build(vectors, Spec(metric, "ivf", nlist=4, nprobe=1), scan)
    ids, scores = index.search(vectors[3:4], 6)
    assert ids.tolist() == [[3, 4, 5, -1, -1, -1]]
    assert scores[0, 3:].tolist() == [WORST[metric]] * 3


def test_fewer_vectors_than_lists_and_than_k(scan: Scan, metric: str) -> None:
    vectors = mixture(3, 4)
    index = Ivf.build(vectors, Spec(metric, "ivf", nlist=100, nprobe=99), scan)
    ids, _ = index.search(vectors, 10)
    np.testing.assert_array_equal(ids, reference(metric, vectors, vectors, 10)[0])
    assert index.search(vectors, 0)[0].shape == (3, 0)
    assert index.search(vectors[:0], 2)[0].shape == (0, 2)


@pytest.mark.slow
def test_what_is_added_is_found_and_what_is_removed_is_not(scan: Scan, metric: str) -> None:
    vectors = mixture(500, 8)
    index = Ivf.build(vectors[:400], Spec(metric, "ivf", nlist=10, nprobe=10), scan)
    assert index.remove(np.array([3, 5, 399, 10_000])) == 3
    assert index.add(vectors[400:]).tolist() == list(range(400, 500))
    assert index.shape == (497, 8)
    ids, scores = index.search(vectors[[3, 399, 450]], 5)
    wanted_ids, wanted = reference(metric, vectors, vectors[[3, 399, 450]], 8)
    for row in range(3):
        left = ~np.isin(wanted_ids[row], [3, 5, 399])
        assert ids[row].tolist() == wanted_ids[row][left][:5].tolist()
        np.testing.assert_allclose(scores[row], wanted[row][left][:5], rtol=1e-4, atol=1e-5)
    index.remove(np.arange(500))
    assert index.search(vectors[:2], 3)[0].shape == (2, 0)
    assert index.add(vectors[:1]).tolist() == [500]


@pytest.mark.parametrize("mapped", [False, True])
def test_a_saved_index_answers_the_same(scan: Scan, mapped: bool, tmp_path: Path) -> None:
    vectors = mixture(600, 8)
    index = Ivf.build(vectors, Spec(scan.metric, "ivf", nlist=10), scan)
    index.remove(np.array([4]))
    index.save(tmp_path)
    about, arrays = store.read(tmp_path, mapped=mapped)
    again = Ivf.restore(arrays, Spec(**about), scan)
    for one, two in zip(index.search(vectors[:20], 5), again.search(vectors[:20], 5), strict=True):
        np.testing.assert_array_equal(one, two)
    assert again.spec == index.spec
    on_disk = 599 * 8 * 4 if mapped else 0  # vectors there do not count, and are not read to be regrouped
    assert again.nbytes == index.nbytes - on_disk
    assert again.add(vectors[:1]).tolist() == [600]


def test_a_damaged_or_missing_array_is_an_error(tmp_path: Path) -> None:
    index = Ivf.build(mixture(100, 4), Spec("l2", "ivf", nlist=5), SCANS["numpy"]("l2"))
    index.save(tmp_path)
    about, arrays = store.read(tmp_path)
    del arrays["ids"]
    with pytest.raises(store.StoreError, match="the arrays ids are not there"):
        Ivf.restore(arrays, Spec(**about), SCANS["numpy"]("l2"))
    (path,) = tmp_path.glob("rows-*.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(store.StoreError, match="damaged"):
        store.read(tmp_path)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.empty((0, 3), dtype=np.float32), "learns its clusters from vectors, got none"),
        (np.array([[1, np.nan]], dtype=np.float32), "must be finite"),
    ],
)
def test_vectors_that_make_no_index_are_an_error(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ivf.build(vectors, Spec("l2", "ivf"), SCANS["numpy"]("l2"))


def test_queries_and_settings_that_make_no_search_are_an_error(scan: Scan) -> None:
    index = Ivf.build(mixture(50, 4), Spec(scan.metric, "ivf", nlist=4), scan)
    query = np.zeros((1, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="rows of 4 numbers"):
        index.search(np.zeros((1, 3), dtype=np.float32), 1)
    with pytest.raises(ValueError, match="must be finite"):
        index.search(np.full((1, 4), np.inf, dtype=np.float32), 1)
    with pytest.raises(ValueError, match="k must be >= 0, got -1"):
        index.search(query, -1)
    with pytest.raises(ValueError, match="nprobe must be >= 1, got 0"):
        index.search(query, 1, nprobe=0)
    with pytest.raises(ValueError, match="rows of 4 numbers"):
        index.add(np.zeros((1, 3), dtype=np.float32))
