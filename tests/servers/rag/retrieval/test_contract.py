"""The contract of every retrieval backend and metric, against a float64 reference that sorts everything."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from servers.rag.retrieval import BACKENDS, METRICS, Index, Spec, StoreError, build, load
from servers.rag.retrieval.scan import Scan

SHAPES = {  # n, d, q, k
    "one number": (1, 1, 1, 1),
    "one dimension": (300, 1, 5, 4),
    "two dimensions": (5000, 2, 7, 10),
    "n < k": (7, 3, 2, 20),
    "more than a block": (20_000, 16, 9, 5),
    "odd": (1023, 33, 6, 7),
    "many dimensions": (150, 32_768, 3, 5),
    "a lone query": (20_000, 96, 1, 10),
    "two queries, many dimensions": (150, 32_768, 2, 5),
}
WORST: dict[tuple[str, str], float] = {}

pytestmark = [
    pytest.mark.parametrize("backend", BACKENDS),
    pytest.mark.parametrize("metric", METRICS),
]


def reference(metric: str, vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """All scores in float64, shown in float32; best first, ties by lowest id."""
    a, b = queries.astype(np.float32).astype(np.float64), vectors.astype(np.float64)
    if metric in {"l1", "l2"}:
        apart = [np.abs(b - query) for query in a]
        found = np.array([each.sum(1) if metric == "l1" else np.sqrt((each * each).sum(1)) for each in apart])
        order = found.astype(np.float32)
    else:
        found = np.array([(b * query).sum(1) for query in a])
        if metric == "cosine":
            lengths = np.sqrt((a * a).sum(1))[:, None] * np.sqrt((b * b).sum(1))
            found = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
        order = -found.astype(np.float32)
    ids = np.array([np.lexsort((np.arange(len(b)), row)) for row in order])[:, :k]
    return ids, np.take_along_axis(found, ids, axis=1)


def check(index: Index, vectors: np.ndarray, queries: np.ndarray, k: int) -> None:
    """Ids and scores against the reference; keeps the largest error for the table."""
    metric = index.spec.metric
    ids, scores = index.search(queries, k)
    wanted_ids, wanted = reference(metric, vectors, queries, k)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    assert ids.shape == scores.shape == wanted_ids.shape
    np.testing.assert_array_equal(ids, wanted_ids)
    np.testing.assert_allclose(scores, wanted, rtol=1e-6, atol=1e-7)


def drawn(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + n + d).standard_normal((n, d), dtype=np.float32)


def made(backend: str, metric: str, vectors: np.ndarray, dtype: str = "float32") -> Index:
    if backend == "faiss":
        pytest.importorskip("faiss")
    return build(backend, vectors, Spec(metric=metric, dtype=dtype), threads=2)


@pytest.fixture(scope="module", autouse=True)
def told() -> Iterator[None]:
    """Print the largest relative errors of the scores when all is done."""
    yield
    print("\nlargest relative error of a score against float64")
    for (backend, metric), error in sorted(WORST.items()):
        print(f"{backend:>8} {metric:>8} {error:.1e}")


@pytest.mark.parametrize("shape", SHAPES)
def test_matches_the_reference(backend: str, metric: str, shape: str) -> None:
    n, d, q, k = SHAPES[shape]
    vectors, queries = drawn(n, d), drawn(q, d, seed=1)
    index = made(backend, metric, vectors)
    check(index, vectors, queries, k)
    _, scores = index.search(queries, k)
    _, wanted = reference(metric, vectors, queries, k)
    error = float((np.abs(scores - wanted) / np.maximum(np.abs(wanted), 1e-12)).max())
    WORST[backend, metric] = max(error, WORST.get((backend, metric), 0.0))


def test_ties_go_to_the_lowest_id_even_at_the_edge(backend: str, metric: str) -> None:
    few = drawn(3, 8)
    vectors = np.tile(few, (2000, 1))
    check(made(backend, metric, vectors), vectors, few, 10)
    check(made(backend, metric, vectors), vectors, few[:1], 10)


def test_zero_vectors_and_zero_queries(backend: str, metric: str) -> None:
    vectors = drawn(50, 4)
    vectors[::3] = 0
    queries = np.vstack([np.zeros((1, 4), dtype=np.float32), vectors[1:3]])
    check(made(backend, metric, vectors), vectors, queries, 20)


def test_near_duplicates_far_from_the_origin(backend: str, metric: str) -> None:
    vectors = 1000 + drawn(3000, 8) * 1e-3
    queries = 1000 + drawn(3, 8, seed=1) * 1e-3
    check(made(backend, metric, vectors), vectors, queries, 5)


def test_vectors_in_order_of_nearness_to_the_query(backend: str, metric: str) -> None:
    vectors = np.linspace(1, 2, 140_000, dtype=np.float32)[:, None] * np.ones((1, 4), dtype=np.float32)
    for queries in (1, 3):
        check(made(backend, metric, vectors), vectors, np.full((queries, 4), 3, dtype=np.float32), 5)


def test_blocks_of_a_few_rows_lose_no_query_s_neighbours(
    backend: str, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "faiss":
        pytest.skip(f"{backend} has no blocks of ours")
    monkeypatch.setattr(Scan, "largest", lambda *_, **__: 8)
    few = 10 * drawn(2, 6)
    vectors = np.concatenate([few[0] + 0.1 * drawn(60, 6), few[1] + 0.1 * drawn(61, 6, seed=1)])
    check(made(backend, metric, vectors), vectors, few, 5)
    check(made(backend, metric, vectors), vectors, few, 20)


def test_what_half_precision_cannot_hold_is_refused(backend: str, metric: str) -> None:
    if backend not in {"torch", "cupy"}:
        pytest.skip(f"{backend} scans in float32")
    with pytest.raises(ValueError, match="dtype float16 wants norms up to 60000"):
        made(backend, metric, 1e5 * drawn(10, 4), "float16")
    index = made(backend, metric, 1e3 * drawn(10, 4), "float16")
    with pytest.raises(ValueError, match="dtype float16 holds products up to 60000"):
        index.search(1e3 * drawn(2, 4), 1)


def test_an_index_of_another_library_is_told(backend: str, metric: str, tmp_path: Path) -> None:
    if metric == "l1" or backend == "faiss":
        pytest.skip("FAISS reads its own, and l1 has no inverted file")
    build(backend, drawn(300, 8), Spec(metric=metric, kind="ivf", nlist=4), threads=1).save(tmp_path)
    with pytest.raises(StoreError, match="was it saved by another backend"):
        load(tmp_path, "faiss")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_an_error(backend: str, metric: str, bad: float) -> None:
    index = made(backend, metric, np.eye(3, dtype=np.float32))
    with pytest.raises(ValueError, match="queries must be finite"):
        index.search(np.array([[0, 1, 0], [bad, 0, 0]], dtype=np.float32), 1)
    vectors = drawn(10, 3)
    vectors[4, 1] = bad
    with pytest.raises(ValueError, match=r"vectors must be finite.* row 4 is not"):
        made(backend, metric, vectors)


def test_queries_of_other_dimensions_are_an_error(backend: str, metric: str) -> None:
    index = made(backend, metric, drawn(10, 3))
    for queries in (drawn(2, 4), drawn(1, 3)[0]):
        with pytest.raises(ValueError, match="queries must be rows of 3 numbers"):
            index.search(queries, 1)
    with pytest.raises(ValueError, match="k must be >= 0"):
        index.search(drawn(2, 3), -1)


def test_views_and_half_precision_are_taken(backend: str, metric: str) -> None:
    wide = drawn(400, 32)
    view, half = wide[::2, ::2], wide[::2, ::2].astype(np.float16)
    for vectors in (view, half, np.asfortranarray(view), view.astype(np.float64)):
        check(made(backend, metric, vectors), vectors.astype(np.float32), drawn(3, 16, seed=2), 4)


def test_no_queries_and_no_neighbours(backend: str, metric: str) -> None:
    index = made(backend, metric, drawn(10, 3))
    for q, k in ((0, 2), (2, 0)):
        ids, scores = index.search(drawn(3, 3)[:q], k)
        assert ids.shape == scores.shape == (q, k)


def test_adding_and_removing(backend: str, metric: str) -> None:
    vectors, more, queries = drawn(40, 6), drawn(9, 6, seed=1), drawn(3, 6, seed=2)
    index = made(backend, metric, vectors)
    assert index.add(more).tolist() == list(range(40, 49))
    check(index, np.vstack([vectors, more]), queries, 12)
    assert index.remove(np.array([48, 0, 7, 7, 1000])) == 3
    assert index.shape == (46, 6)
    ids, _ = index.search(queries, 46)
    assert set(ids[0].tolist()) == set(range(1, 48)) - {7}
    assert index.add(more[:1]).tolist() == [49]  # 48 is gone, and never given again
    with pytest.raises(ValueError, match="must be finite"):
        index.add(np.full((1, 6), np.nan, dtype=np.float32))
    with pytest.raises(ValueError, match="rows of 6"):
        index.add(drawn(2, 5))
    whole, _ = index.search(queries, 47)
    assert set(whole[0].tolist()) == set(range(1, 48)) - {7} | {49}
    assert index.shape == (47, 6)


def test_what_was_saved_is_loaded(backend: str, metric: str, tmp_path: Path) -> None:
    queries = drawn(3, 6, seed=2)
    index = made(backend, metric, drawn(40, 6))
    index.remove(np.array([3, 39]))
    index.save(tmp_path / "kept")
    for mapped in (False, True):
        again = load(tmp_path / "kept", backend, threads=2, mapped=mapped)
        assert again.spec == index.spec
        for one, other in zip(index.search(queries, 5), again.search(queries, 5), strict=True):
            np.testing.assert_array_equal(one, other)
    assert load(tmp_path / "kept", backend).add(drawn(1, 6)).tolist() == [40]


def test_a_damaged_file_is_told(backend: str, metric: str, tmp_path: Path) -> None:
    made(backend, metric, drawn(40, 6)).save(tmp_path)
    (path,) = tmp_path.glob("vectors-*.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match=r"vectors-[0-9a-f]{12}\.npy: damaged"):
        load(tmp_path, backend)
    with pytest.raises(StoreError, match="no index is there"):
        load(tmp_path / "nowhere", backend)


def test_a_mapped_file_is_searched_and_not_changed(backend: str, metric: str, tmp_path: Path) -> None:
    vectors = drawn(9000, 24)
    np.save(tmp_path / "large.npy", vectors)
    mapped = np.load(tmp_path / "large.npy", mmap_mode="r")
    index = made(backend, metric, mapped)
    check(index, vectors, drawn(4, 24, seed=1), 6)
    if backend != "faiss":  # which copies it
        assert index.nbytes < vectors.nbytes / 4
        with pytest.raises(ValueError, match="a mapped file cannot be changed"):
            index.add(vectors[:1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_scan_in_half_precision_gives_the_same_answers(backend: str, metric: str, dtype: str) -> None:
    if backend not in {"torch", "cupy"} or (backend, dtype) == ("cupy", "bfloat16"):
        pytest.skip(f"{backend} scans in float32")
    vectors = drawn(6000, 48)
    check(made(backend, metric, vectors, dtype), vectors, drawn(4, 48, seed=1), 8)


def test_a_setting_that_is_not_known_is_told(backend: str, metric: str) -> None:
    with pytest.raises(ValueError, match=r"metric must be one of ip, cosine, l2, l1, got 'dot'"):
        Spec(metric="dot")
    with pytest.raises(ValueError, match=r"backend must be one of numpy, .* got 'nmpy'"):
        build("nmpy", drawn(3, 3), Spec(metric=metric))
