import numpy as np
import pytest

from ragbench.statistics.resampling import counts_drawn, means, quantiles


@pytest.mark.parametrize(("n", "length"), [(12, 3), (10, 4), (7, 7), (5, 1)])
def test_blocks_of_neighbours_are_drawn_round_the_end(n, length):
    counts = counts_drawn(n, length=length, times=300, rng=np.random.default_rng(1))
    assert (counts.sum(axis=1) == -(-n // length) * length).all()
    assert counts.min() >= 0
    one = counts_drawn(n, length=n, times=50, rng=np.random.default_rng(2))
    assert (one == 1).all()
    assert counts.mean(axis=0) == pytest.approx(counts.mean(), rel=0.2)


def test_quantiles_and_means_are_numpys_of_what_was_drawn():
    rng = np.random.default_rng(3)
    values = rng.exponential(size=50)
    counts = counts_drawn(50, length=5, times=4, rng=rng)
    drawn = [np.repeat(values, each) for each in counts]
    assert quantiles(values, counts, [0.5, 0.95]) == pytest.approx(
        np.array([np.quantile(d, [0.5, 0.95]) for d in drawn])
    )
    assert means(values, counts)[:, 0] == pytest.approx([np.mean(d) for d in drawn])


def test_an_infinite_value_is_larger_than_all_others():
    values = np.array([np.inf, 1.0, 2.0, 3.0, np.inf])
    once = np.ones((1, 5), np.int32)
    assert quantiles(values, once, [0.25, 0.5, 0.75, 0.9]).tolist() == [[2.0, 3.0, np.inf, np.inf]]
