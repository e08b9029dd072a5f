"""The few operations that the array libraries do not share, in each of them."""

from threading import current_thread

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from servers.rag.retrieval.arrays import LIBRARIES, Arrays, arrays_for


@pytest.fixture(params=LIBRARIES)
def arrays(request: pytest.FixtureRequest) -> Arrays:
    return arrays_for(request.param)


def test_sums_of_segments_in_any_order_and_of_an_empty_one(arrays: Arrays) -> None:
    rows = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], dtype=np.float32)
    total = arrays.host(arrays.sums(arrays.put(rows), arrays.put(np.array([2, 0, 2, 3])), 5))
    assert total.dtype == np.float32
    assert total.tolist() == [[3, 4], [0, 0], [6, 8], [7, 8], [0, 0]]


def test_distances_are_sums_of_absolute_differences(arrays: Arrays) -> None:
    rows, queries = np.array([[1, 2], [3, -4], [0, 0]], dtype=np.float32), np.array([[0, 0], [1, 1]], dtype=np.float32)
    ways = [arrays, Arrays(arrays_for("numpy").xp, "cupy", "cpu")]  # CuPy's own way, without a device
    for way in ways[: 1 if arrays.library == "torch" else 2]:
        found = way.distances(arrays.put(rows), arrays.put(queries))
        assert arrays.host(found).tolist() == [[3, 1], [7, 7], [0, 2]]


def test_what_is_put_comes_back(arrays: Arrays) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    rows.setflags(write=False)
    np.testing.assert_array_equal(arrays.host(arrays.put(rows)), rows)
    assert arrays.host(arrays.empty((2, 3), "float16")).shape == (2, 3)


def test_results_come_in_the_order_of_the_parts(arrays: Arrays) -> None:
    assert arrays.map(lambda part: part.start, [slice(start, start + 1) for start in range(50)]) == list(range(50))
    assert arrays.map(lambda part: part, []) == []


def test_blas_has_its_threads_again_after_a_task_failed() -> None:
    def threads() -> int:
        return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")

    arrays, before = arrays_for("numpy"), threads()
    seen = []

    def task(part: int) -> None:
        seen.append(threads())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        arrays.map(task, [1, 2])
    assert seen[0] == 1
    assert threads() == before


def test_where_numpy_may_use_one_thread_no_other_is_started() -> None:
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    assert len(libraries) > 1, "numpy and scipy bring a BLAS each"
    with threadpool_limits(limits=2, user_api="blas"):
        next(library for library in libraries if "numpy" in library.filepath).set_num_threads(1)
        assert set(arrays_for("numpy").map(lambda part: current_thread(), range(8))) == {current_thread()}


def test_another_library_is_an_error() -> None:
    with pytest.raises(ValueError, match="library must be one of numpy, torch, cupy, got 'jax'"):
        arrays_for("jax")
