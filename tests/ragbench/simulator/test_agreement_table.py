"""The table `agreement`, short: designs of known times, predicted without their rate."""

import importlib
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def made(monkeypatch):
    """The module, found as `scripts/tables.py` finds it."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    yield importlib.import_module("statistics_tables.agreement")
    sys.modules.pop("statistics_tables.agreement", None)


def test_known_designs_are_predicted_from_rates_that_were_seen(made):
    reported = []
    table = pd.DataFrame(made.rows(reported.append, measured=None, rates=(20, 60), duration_s=4.0))
    assert table["source"].tolist() == ["known"] * 6
    judged = table[table["is_judged"]]
    assert len(judged) >= 3
    assert judged["agrees"].all()
    assert judged["p50_off"].abs().max() < 0.1
    assert any("known: baseline-poisson-20rps-seed1" in line for line in reported)
    assert f"- known: out of sample {len(judged)} of {len(judged)}, in sample {len(judged)};" in made.notes(table)[-1]


def test_the_study_it_predicts_is_committed(made):
    assert (made.MEASURED / "summary.csv").is_file()
