"""What docs/ says, against what it speaks of."""

from pathlib import Path

from ragbench.results.metrics import SCALING, metrics_table
from ragbench.statistics.verdicts import rules_table
from ragbench.study.arrivals import ARRIVALS

MEASURING = (Path(__file__).parents[1] / "docs" / "measuring.md").read_text()


def test_the_rules_are_those_that_judge() -> None:
    assert rules_table() in MEASURING


def test_every_arrival_is_described() -> None:
    described = {line.split("`")[1].partition(":")[0] for line in MEASURING.splitlines() if line.startswith("| `")}
    assert set(ARRIVALS) <= described


def test_every_figure_of_scaling_is_described() -> None:
    prose = MEASURING.replace(metrics_table(), "")
    assert [name for name in SCALING if f"`{name}`" not in prose] == []


def test_every_figure_is_described_as_in_the_table() -> None:
    assert metrics_table() in MEASURING
