"""The few operations that the array libraries do not share, in each of them."""

import numpy as np
import pytest

from servers.rag.retrieval.arrays import LIBRARIES, Arrays, arrays_for


@pytest.fixture(params=LIBRARIES)
def arrays(request: pytest.FixtureRequest) -> Arrays:
    return arrays_for(request.param)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_is_best_first(arrays: Arrays, k: int) -> None:
    keys = np.array([[1, 5, 3, 2, 4], [9, -9, 0, -np.inf, 7]], dtype=np.float32)
    best, columns = arrays.top_k(arrays.put(keys), k)
    assert arrays.host(columns).tolist() == [[1, 4, 2, 3, 0][:k], [0, 4, 2, 1, 3][:k]]
    assert arrays.host(best).tolist() == [[5, 4, 3, 2, 1][:k], [9, 7, 0, -9, -np.inf][:k]]
    assert arrays.host(arrays.kth_best(arrays.put(keys), k)).tolist() == [
        [5, 4, 3, 2, 1][k - 1],
        [9, 7, 0, -9, -np.inf][k - 1],
    ]


def test_sums_of_segments_in_any_order_and_of_an_empty_one(arrays: Arrays) -> None:
    rows = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], dtype=np.float32)
    total = arrays.host(arrays.sums(arrays.put(rows), arrays.put(np.array([2, 0, 2, 3])), 5))
    assert total.dtype == np.float32
    assert total.tolist() == [[3, 4], [0, 0], [6, 8], [7, 8], [0, 0]]


def test_what_is_put_comes_back(arrays: Arrays) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    rows.setflags(write=False)
    np.testing.assert_array_equal(arrays.host(arrays.put(rows)), rows)
    np.testing.assert_array_equal(arrays.host(arrays.zeros(2, 3, dtype="float64")), np.zeros((2, 3)))


def test_another_library_is_an_error() -> None:
    with pytest.raises(ValueError, match="library must be one of numpy, torch, cupy, got 'jax'"):
        arrays_for("jax")
