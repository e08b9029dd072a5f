import csv

import numpy as np
import pytest

from ragbench.capacity.figure import capacity, load_capacity, save_capacity
from ragbench.compare.cells import Comparison, compare
from ragbench.compare.figure import differences
from ragbench.compare.pairs import make_pairs
from ragbench.compare.sides import COMPARED, parse_side
from ragbench.plots import load_study, rendered
from ragbench.results.records import RecordError
from tests.ragbench.compare_fixture import write_runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    services = {"one": lambda rate: 0.01, "two": lambda rate: 0.012}
    return write_runs(
        tmp_path_factory.mktemp("it") / "it", services, rates=(20, 40, 90), seeds=(1, 2, 3), duration_s=10
    )


def marks(axes, gid):
    return [line for line in axes.lines if line.get_gid() == gid]


@pytest.mark.slow
def test_every_cell_is_a_mark_with_its_interval(folder):
    comparison = compare(make_pairs(parse_side(f"{folder}:one"), parse_side(f"{folder}:two")))
    figure = differences(comparison)
    assert [axes.get_title() for axes in figure.axes] == list(COMPARED)
    p50 = figure.axes[0]
    cells = [cell for cell in comparison.cells if cell.metric == "latency_p50_s"]
    drawn = sorted(float(line.get_ydata()[0]) for gid in ("shown", "not shown") for line in marks(p50, gid))
    assert drawn == pytest.approx(sorted(cell.difference.log_ratio for cell in cells if cell.difference))
    assert len(marks(p50, "not compared")) == sum(cell.difference is None for cell in cells)
    assert [label.get_text() for label in p50.get_xticklabels()] == ["20/s", "40/s", "90/s"]
    low, high = p50.get_ylim()
    for cell in cells:
        if cell.difference:
            found = cell.interval
            assert low <= np.log1p(found.low / 100) < np.log1p(found.high / 100) <= high
    assert rendered(figure, "png") == rendered(differences(comparison), "png")


def test_nothing_compared_is_no_figure():
    assert differences(Comparison(())) is None


def write_capacity(folder, **changes):
    row = {"configuration": "one", "design": "one", "arrival": "poisson", "slo": "latency_p99_s <= 0.2"}
    row |= {"capacity_rps": 40, "low_rps": 40, "high_rps": 90, "resolved": "true", "reason": "", "probes": 3}
    row |= {"points": 6, "load_s": 2, "bias": 0.1} | changes
    with (folder / "capacity.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)


def test_capacity_shades_the_bracket_and_draws_the_promise(folder, tmp_path):
    write_capacity(folder)
    figure = capacity(load_study(folder))
    assert len(figure.axes) == 2  # one design has a capacity, two panels each
    latency = figure.axes[0]
    assert latency.get_title() == "one: 40/s"
    assert latency.get_ylabel().startswith("latency_p99_s")
    (band,) = [patch for patch in latency.patches if patch.get_gid() == "bracket"]
    assert (band.get_x(), band.get_x() + band.get_width()) == (40, 90)
    (limit,) = marks(latency, "promise")
    assert list(limit.get_ydata()) == [0.2, 0.2]
    assert [path.name for path in save_capacity(folder)] == ["capacity.png", "capacity.svg", "capacity.drawn.csv"]


def test_what_was_not_found_or_resolved_is_said(folder):
    write_capacity(folder, resolved="false")
    assert capacity(load_study(folder)).axes[0].get_title() == "one: 40/s, not resolved"
    write_capacity(folder, capacity_rps="", low_rps="", resolved="false")
    figure = capacity(load_study(folder))
    assert figure.axes[0].get_title() == "one: not found"
    assert not figure.axes[0].patches


def test_a_study_without_a_search_has_no_figure(tmp_path):
    folder = write_runs(tmp_path / "x", {"one": lambda rate: 0.01}, duration_s=3)
    assert capacity(load_study(folder)) is None
    assert save_capacity(folder) == []
    with pytest.raises(RecordError, match="`ragbench capacity` writes it"):
        load_capacity(folder)
