import numpy as np
import pandas as pd
import pytest
from statistics_tables import coverage, growth
from statistics_tables.queues import single


def test_a_table_queue_of_one_server_has_its_mean():
    due, done = single(0.5, 20_000, runs=4, rng=np.random.default_rng(1))
    assert np.mean(done - due) == pytest.approx(2.0, rel=0.1)
    due, done = single(0.5, 20_000, runs=4, rng=np.random.default_rng(1), is_markov=False)
    assert np.mean(done - due) == pytest.approx(1.5, rel=0.1)


def test_growth_finds_a_slow_replica_that_the_rule_before_did_not():
    found = growth.cell("one slow replica of three", 1.5, 1000, runs=30)
    assert found["before"] <= 0.1
    assert found["after"] >= 0.9


@pytest.mark.parametrize("name", growth.QUEUES)
def test_growth_below_capacity_is_hardly_ever_told(name):
    assert growth.cell(name, 0.9, 300, runs=60)["after"] <= 1 / 60


def test_coverage_counts_what_is_shown_and_what_holds():
    cells = coverage.cells(0.3, 1000, runs=30)
    assert [cell["figure"] for cell in cells] == ["mean", "p50", "p95", "p99"]
    assert [cell["shown"] for cell in cells] == [30, 30, 0, 0]
    assert min(cell["coverage"] for cell in cells[:2]) >= 0.9
    assert cells[2]["coverage"] is None


@pytest.mark.parametrize(("table", "made"), [(growth, growth.cell("M/M/1", 0.6, 100, runs=5)), (coverage, None)])
def test_a_table_has_its_notes(table, made):
    frame = pd.DataFrame([made] if made else coverage.cells(0.3, 300, runs=10))
    assert all(isinstance(line, str) for line in table.notes(frame))
