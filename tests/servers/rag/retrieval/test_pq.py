"""The product quantiser: what codes stand for, and how far that is from the vectors."""

import numpy as np
import pytest

from servers.rag.retrieval.arrays import arrays_for
from servers.rag.retrieval.pq import Quantiser, train

ARRAYS = arrays_for("numpy")


def drawn(n: int, d: int) -> np.ndarray:
    return np.random.default_rng(n + d).standard_normal((n, d), dtype=np.float32)


def error(m: int) -> float:
    vectors = drawn(1200, 16)
    quantiser = train(vectors, m, rng=np.random.default_rng(0), arrays=ARRAYS)
    return float(np.square(quantiser.decode(quantiser.encode(vectors, ARRAYS)) - vectors).mean())


def test_the_error_falls_as_codes_grow() -> None:
    errors = [error(m) for m in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.3
    assert errors[-1] < 0.02


def test_up_to_256_vectors_are_coded_without_loss() -> None:
    vectors = drawn(200, 6)
    quantiser = train(vectors, 3, rng=np.random.default_rng(0), arrays=ARRAYS)
    codes = quantiser.encode(vectors, ARRAYS)
    assert codes.shape == (200, 3)
    assert codes.dtype == np.uint8
    np.testing.assert_allclose(quantiser.decode(codes), vectors, atol=1e-5)


def test_each_byte_names_a_row_of_its_own_book() -> None:
    quantiser = Quantiser(np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], dtype=np.float32))
    assert quantiser.decode(np.array([[0, 1], [1, 0]], dtype=np.uint8)).tolist() == [[1, 2, 7, 8], [3, 4, 5, 6]]
    assert quantiser.encode(np.array([[3, 4, 7, 9]], dtype=np.float32), ARRAYS).tolist() == [[1, 1]]


def test_table_entries_add_up_to_the_inner_product_with_the_decoded_vector() -> None:
    vectors, queries = drawn(300, 12), drawn(5, 12)
    quantiser = train(vectors, 4, rng=np.random.default_rng(0), arrays=ARRAYS)
    codes = quantiser.encode(vectors, ARRAYS)
    sums = quantiser.tables(queries)[:, np.arange(4), codes].sum(axis=2)
    np.testing.assert_allclose(sums, queries @ quantiser.decode(codes).T, atol=1e-5)


def test_m_that_does_not_divide_the_dimensions_is_an_error() -> None:
    with pytest.raises(ValueError, match="m must divide the 12 dimensions: one of 1, 2, 3, 4, 6, 12, got 5"):
        train(drawn(20, 12), 5, rng=np.random.default_rng(0), arrays=ARRAYS)
