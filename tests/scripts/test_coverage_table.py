"""The table of coverage, in few runs."""

import sys
from pathlib import Path

import pandas as pd

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

from statistics_tables import coverage


def test_coverage_counts_what_is_shown():
    cells = coverage.cells(0.3, 1000, runs=30)
    assert [cell["figure"] for cell in cells] == ["mean", "p50", "p95", "p99"]
    assert [cell["shown"] for cell in cells] == [30, 30, 0, 0]
    assert min(cell["coverage"] for cell in cells[:2]) >= 0.9
    assert cells[2]["coverage"] is None


def test_the_notes_of_coverage_count_cells_and_intervals_that_are_shown_seldom():
    table = pd.DataFrame(coverage.cells(0.3, 1000, runs=20) + coverage.cells(0.6, 300, runs=60))
    notes = " ".join(coverage.notes(table))
    assert "Cells that count as shown: 2 of 8." in notes
    assert "In 2 empty cells some runs show an interval all the same" in notes
