"""The table `agreement`, short: designs of known times, predicted without their rate."""

import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

from statistics_tables import agreement


@pytest.mark.slow
def test_known_designs_are_predicted():
    reported = []
    table = pd.DataFrame(agreement.rows(reported.append, measured=None, rates=(20, 60), duration_s=4.0))
    assert table["source"].tolist() == ["known"] * 6
    judged = table[table["is_judged"]]
    assert len(judged) >= 3
    assert judged["agrees"].all()
    assert judged["p50_off"].abs().max() < 0.1
    assert any("known: baseline-poisson-20rps-seed1" in line for line in reported)
    assert f"- known: out of sample {len(judged)} of {len(judged)}; mean" in agreement.notes(table)[-1]


def test_the_committed_table_is_of_the_committed_study():
    """A load has one seed there: its quantiles are those of summary.csv. Measured again, the table is outdated."""
    measured = pd.read_csv(agreement.MEASURED / "summary.csv")
    table = pd.read_csv(agreement.ROOT / "results" / "reference-statistics" / "agreement.csv")
    loads = table[table["source"] == agreement.MEASURED.name]
    for column in ("latency_p50_s", "latency_p95_s"):
        assert sorted(loads[column]) == pytest.approx(sorted(measured[column]), abs=1e-5)
    assert sorted(loads["verdict"]) == sorted(measured["verdict"])
