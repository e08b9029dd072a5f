import numpy as np
import pandas as pd
import pytest

from ragbench.retrieval.comparisons import (
    at_largest_n,
    bend,
    frontier,
    groups_of,
    most_measured,
    over_base,
    over_cpu,
    slope,
)

CELL = {"data": "uniform", "metric": "ip", "n": 40, "d": 2, "k": 10, "batch": 1, "index": "flat"}
CELL |= {"device": "cpu", "dtype": "float32", "storage": "memory", "memory_mib": None, "threads": 2, "seed": 0}


def rows(*told):
    return pd.DataFrame([{**CELL, **each} for each in told]).astype({"memory_mib": "Int64"})


def test_a_speed_up_is_against_plain_at_the_same_cell():
    found = over_base(
        rows(
            {"backend": "plain", "search_s": 6.0},
            {"backend": "numpy", "search_s": 2.0},
            {"backend": "torch", "search_s": 1.5, "device": "cuda"},
            {"backend": "numpy", "search_s": 2.0, "batch": 32},
            {"backend": "numpy", "search_s": 2.0, "index": "ivf"},
        )
    )
    assert found[["backend", "speedup"]].to_numpy().tolist() == [["numpy", 3.0], ["torch", 4.0]]


def test_a_gpu_is_set_against_the_fastest_on_the_cpu():
    found = over_cpu(
        rows(
            {"backend": "plain", "search_s": 6.0},
            {"backend": "numpy", "search_s": 2.0},
            {"backend": "torch", "search_s": 0.5, "device": "cuda"},
        )
    )
    assert found[["backend", "against", "speedup"]].to_numpy().tolist() == [["torch", "numpy", 4.0]]


def test_a_frontier_is_beaten_by_nothing():
    points = pd.DataFrame({"recall_at_k": [0.5, 0.5, 0.7, 0.9, 1.0], "queries_per_s": [90, 100, 40, 60, 10]})
    assert frontier(points)[["recall_at_k", "queries_per_s"]].to_numpy().tolist() == [[0.5, 100], [0.9, 60], [1.0, 10]]


def test_the_largest_n_of_each_metric_d_and_batch():
    found = at_largest_n(rows({"n": 40}, {"n": 400}, {"n": 40, "d": 64}))
    assert found[["n", "d"]].to_numpy().tolist() == [[400, 2], [40, 64]]


def test_what_was_measured_most_is_chosen():
    table = rows({"k": 1}, {"k": 1, "n": 80}, {"k": 10}, {"k": 10}, {"k": 10})
    assert set(most_measured(table, ["k"], by="n")["k"]) == {1}
    assert set(most_measured(table, ["k"], by="d")["k"]) == {10}
    assert most_measured(table[:0], ["k"], by="n").empty
    assert [len(group) for group in groups_of(table, ["k", "n"], most=2)] == [1, 3]


def test_a_power_is_found():
    assert slope([1, 10, 100], [3, 300, 30000]) == pytest.approx(2)


def test_the_bend_of_a_curve():
    clusters = np.array([2, 4, 8, 16, 32, 64])
    assert bend(clusters, [100, 60, 20, 18, 16, 14]) == 8
    assert bend(clusters, [64, 62, 58, 50, 34, 2]) is None
    assert bend(clusters[:2], [2, 1]) is None
