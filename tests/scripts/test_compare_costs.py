"""The comparison of cost_aware with late_binding: a cell of it again, and its arithmetic."""

from pathlib import Path

import pandas as pd
import pytest

from ragbench.results.records import Row
from scripts import compare_costs

COMMITTED = pd.read_csv(Path(__file__).parents[2] / "results" / "reference-policies-costs" / "costs.csv")


@pytest.mark.parametrize("shape", ["gpu"])
def test_a_cell_comes_out_again(shape):
    [kept] = COMMITTED[(COMMITTED["shape"] == shape) & (COMMITTED["load"] == "8 users")].to_dict("records")
    again = compare_costs.cell(shape, 8)
    assert list(again) == list(kept)
    for column, value in kept.items():
        assert again[column] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-3)), column


def test_every_shape_meets_every_load():
    loads = [*(f"{users} users" for users in compare_costs.USERS), compare_costs.OPEN]
    assert list(zip(COMMITTED["shape"], COMMITTED["load"], strict=True)) == [
        (shape, load) for shape in compare_costs.SHAPES for load in loads
    ]


def test_the_shapes_are_those_named():
    times = compare_costs.service_times("gpu")
    assert (times.mean_s(1), times.mean_s(32)) == pytest.approx((0.0203, 0.0296))
    assert compare_costs.service_times("tiny").mean_s(1) == pytest.approx(0.00815, abs=1e-5)


def test_an_interval_is_that_of_student():
    """Logs of mean 0.1 and deviation 0.04: 0.1 - 2.365 * 0.04 / sqrt(8) = 0.06655 and so on."""
    logs = [0.1 + 0.04 * (7 / 8) ** 0.5 * sign for sign in (1, -1) * 4]
    assert compare_costs.interval(logs) == pytest.approx((1.1052, 1.0688, 1.1427), abs=2e-4)


@pytest.mark.parametrize(
    ("rates", "tails", "ends"),
    [
        ([1.0, 1.06], [1.0, 1.019], "worse somewhere: no; by 5% better somewhere: yes."),
        ([0.97, 1.04], [1.0, 1.0], "worse somewhere: yes; by 5% better somewhere: no."),
        ([1.0, 1.2], [1.0, 1.03], "worse somewhere: yes; by 5% better somewhere: yes."),
        ([1.0, 1.0], [0.9, 1.0], "worse somewhere: no; by 5% better somewhere: yes."),
    ],
)
def test_the_verdict_is_by_throughput_and_tail(rates, tails, ends):
    table = pd.DataFrame({"throughput_rps_ratio": rates, "latency_p95_ms_ratio": tails})
    assert compare_costs.verdict(table).endswith(ends)


def test_a_lost_request_is_no_figure():
    with pytest.raises(ValueError, match="got 1 that were not"):
        compare_costs._figures([Row(0, "q", 0.0, status="timeout")])
