"""Made-up vectors: the same for the same seed, of the shape that their name says."""

import numpy as np
import pytest

from servers.measure.retrieval import data


def made(name: str, n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.concatenate(list(data.blocks(name, n, d, seed=seed)))


@pytest.mark.parametrize("name", ["uniform", "clustered", "intrinsic:3"])
def test_the_same_seed_gives_the_same_rows_in_whatever_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = made(name, 700, 8)
    assert (rows.shape, rows.dtype) == ((700, 8), np.float32)
    np.testing.assert_array_equal(rows, made(name, 700, 8))
    assert not np.array_equal(rows, made(name, 700, 8, seed=1))
    monkeypatch.setattr(data, "_NUMBERS", 8 * 100)
    assert len(list(data.blocks(name, 700, 8, seed=0))) == 7
    asked = data.queries(name, 700, 8, count=5, seed=0)
    assert asked.shape == (5, 8)
    assert not (asked[:, None] == rows).all(axis=2).any()


def test_uniform_numbers_lie_between_0_and_1() -> None:
    rows = made("uniform", 5000, 4)
    assert 0 <= rows.min() < 0.01
    assert 0.99 < rows.max() < 1


def test_queries_fall_into_the_clusters_of_the_rows() -> None:
    rows, asked = made("clustered", 20_000, 32), data.queries("clustered", 20_000, 32, count=50, seed=0)
    nearest = np.array([np.linalg.norm(rows - query, axis=1).min() for query in asked])
    # Two draws of one cluster are 0.5 sqrt(2 x 32) = 4 apart, of two clusters sqrt(2 x 32 x 1.25) = 8.9.
    assert nearest.max() < 5


def test_intrinsic_rows_lie_near_a_subspace_of_that_dimension() -> None:
    values = np.linalg.svd(made("intrinsic:5", 3000, 40), compute_uv=False) / np.sqrt(3000)
    assert values[4] > 0.8
    assert values[5] < 0.02


@pytest.mark.parametrize("name", ["", "round", "uniform:3", "intrinsic", "intrinsic:", "intrinsic:x", "intrinsic:0"])
def test_a_name_that_is_not_known_is_told(name: str) -> None:
    with pytest.raises(ValueError, match=r"data must be|wants a dimension in"):
        list(data.blocks(name, 10, 4, seed=0))
