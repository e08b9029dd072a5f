"""The table of growth, in few runs."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

from statistics_tables import growth
from statistics_tables.queues import single


def test_a_table_queue_of_one_server_has_its_mean():
    due, done = single(0.5, 20_000, runs=4, rng=np.random.default_rng(1))
    assert np.mean(done - due) == pytest.approx(2.0, rel=0.1)
    due, done = single(0.5, 20_000, runs=4, rng=np.random.default_rng(1), is_markov=False)
    assert np.mean(done - due) == pytest.approx(1.5, rel=0.1)


def test_growth_finds_a_slow_replica():
    found = growth.cell("one slow replica of three", 1.5, 1000, runs=30)
    assert found["before"] <= 0.1
    assert found["after"] >= 0.9


@pytest.mark.parametrize("name", growth.QUEUES)
def test_growth_below_capacity_is_hardly_ever_told(name):
    assert growth.cell(name, 0.9, 300, runs=60)["after"] <= 1 / 60


def test_the_notes_of_growth_tell_the_most_false_alarms():
    frame = pd.DataFrame([growth.cell("M/M/1", load, 100, runs=5) for load in (0.6, 1.5)])
    assert "0.00% after" in growth.notes(frame)[1]
