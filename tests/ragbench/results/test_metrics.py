import re

from ragbench.compare.sides import COMPARED, LATENCIES
from ragbench.plots.style import named
from ragbench.results.metrics import FIGURES, LOAD, METRICS, NAMING, ORIGIN, bound, metrics_table
from ragbench.results.slo import LIMITS, PERCENTILES
from tests.ragbench.results_fixture import SUMMARY_HEADER_TAIL


def test_the_columns_are_those_agreed_on_and_each_has_one_line():
    assert ",".join(METRICS) == f"point,configuration,design,{SUMMARY_HEADER_TAIL}"
    assert len(METRICS) == len((*NAMING, *LOAD, *FIGURES, *ORIGIN))


def test_what_an_slo_limits_and_what_is_compared_are_in_the_order_they_are_told():
    assert ("latency_s", "latency_mean_s", *(f"latency_p{percent}_s" for percent in (50, 90, 95, 99))) == LIMITS
    assert {f"latency_p{percent}_s": percent for percent in (50, 90, 95, 99)} == PERCENTILES
    assert COMPARED == ("latency_p50_s", "latency_p95_s", "latency_p99_s", "throughput_rps", "goodput_rps")
    assert LATENCIES == {"latency_p50_s": 0.5, "latency_p95_s": 0.95, "latency_p99_s": 0.99}


def test_a_percentile_is_the_one_of_its_name():
    told = {name: metric.percentile for name, metric in METRICS.items() if metric.percentile is not None}
    assert {name: float(re.search(r"_p(\d+)_s$", name)[1]) for name in told} == told


def test_an_interval_stands_behind_its_figure():
    columns = list(METRICS)
    intervals = [name for name in columns if bound(name, "low") in METRICS]
    assert intervals == ["throughput_rps", *(f"latency_{figure}_s" for figure in ("mean", "p50", "p95", "p99"))]
    for name in intervals:
        place = columns.index(name)
        assert columns[place + 1 : place + 3] == [bound(name, "low"), bound(name, "high")]


def test_an_axis_has_the_name_and_the_unit():
    assert named("batch_size") == "batch_size (requests, mean)"
    assert named("offered_rps") == "offered_rps (requests per second)"


def test_the_table_has_a_line_a_figure():
    head, rule, *lines = metrics_table().splitlines()
    assert len(lines) == len(METRICS)
    assert {line.count(" | ") for line in (head, *lines)} == {3}
    assert "| `latency_p95_s` | seconds | 95th percentile, from due | compare, SLO |" in lines
    assert rule == "|---|---|---|---|"
