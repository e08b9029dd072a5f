"""The table of capacity searches, in few repeats: the code that the command runs, on queues of known capacity."""

import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

from statistics_tables import capacity

MM1, MD1 = capacity.Known("exponential", 100, 0.25), capacity.Known("deterministic", 100, 0.1)


def test_what_is_known():
    assert MM1.capacity_rps() == pytest.approx(100 - math.log(20) / 0.25)
    assert MD1.capacity_rps() == pytest.approx(84.8, rel=0.01)  # Erlang's sum: p95 of M/D/1 at 0.848 is 10.0 services


@pytest.mark.parametrize("known", [MM1, MD1], ids=lambda known: known.kind)
def test_searches_find_what_is_known(known):
    (row,) = capacity.rows(lambda line: None, searches=6, knowns=[known])
    assert abs(row["mean_off"]) < capacity.MOST_OFF
    assert row["bracket_holds"] >= 5
    assert row["bracket_width"] > row["sd"], "no bracket is narrower than what searches scatter by"
    assert row["load_s"] == 15
    assert len(capacity.notes(pd.DataFrame([row]))) == 2


def test_loads_that_are_too_short_are_told_as_biased():
    """With 5 s a load, as it was once, M/M/1 reads high: the bias told lowers the low end by as much."""
    found = [capacity.search(MM1, rng, length_s=2.0)[0] for rng in np.random.default_rng(8).spawn(6)]
    truth_rps = MM1.capacity_rps()
    assert np.mean([one.capacity_rps for one in found]) > 1.02 * truth_rps
    assert sum(one.low_rps <= truth_rps for one in found) >= 5
