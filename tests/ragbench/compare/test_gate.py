import math
from pathlib import Path

import numpy as np
import pytest

from ragbench.compare.cells import Cell, Comparison
from ragbench.compare.differences import Difference
from ragbench.compare.gate import Gate, judge, parse_gates
from ragbench.compare.pairs import Pair
from ragbench.compare.sides import Level, Requests, Run
from ragbench.files.toml_tables import StudyError
from ragbench.results.paths import PointPaths
from ragbench.statistics.columns import Window


def run(verdict):
    return Run(
        "d",
        "poisson",
        Level(offered_rps=9),
        1,
        verdict,
        "measured",
        "m",
        Window(0, 1),
        "s",
        None,
        PointPaths(Path()),
        kept=Requests(np.zeros(0), np.zeros(0), np.zeros(0), 0.01),
    )


def comparison(*, percent=None, error=0.0, metric="latency_p95_s", verdicts=("valid", "valid")):
    """One cell: the difference, with an interval of plus or minus twice `error` in logarithms, about."""
    pair = Pair("old", "new", "poisson", Level(offered_rps=9), ((run(verdicts[0]), run(verdicts[1])),))
    told = None if percent is None else Difference(math.log1p(percent / 100), error, 1e9)
    return Comparison((Cell(pair, metric, 1.0, 1.0, told, "" if told else "new saturated"),))


def outcome(gate, **cell):
    return judge(comparison(**cell), parse_gates([gate]))[0].outcome


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("latency_p95_s > +5%", Gate("latency_p95_s", True, 5.0)),
        ("throughput_rps<-2.5%", Gate("throughput_rps", False, -2.5)),
        ("latency_p50_s > 0 %", Gate("latency_p50_s", True, 0.0)),
    ],
)
def test_gates_are_read(text, gate):
    assert parse_gates([text]) == [gate]


@pytest.mark.parametrize("text", ["latency_p95_s", "latency_p95_s >= 5%", "latency_p95_s > 5", "> 5%", "a > b%"])
def test_a_gate_that_is_none_says_what_one_looks_like(text):
    with pytest.raises(StudyError, match="--fail-if looks like 'latency_p95_s > "):
        parse_gates([text])


def test_unknown_figures_are_named_with_the_known_and_all_at_once():
    with pytest.raises(StudyError) as error:
        parse_gates(["latency_p42_s > 5%", "nonsense"])
    assert "unknown figure 'latency_p42_s'; known: latency_p50_s" in error.value.mistakes[0]
    assert len(error.value.mistakes) == 2


def test_only_a_whole_interval_beyond_the_threshold_fails():
    assert outcome("latency_p95_s > +5%", percent=20, error=0.05) == "fails"  # about 9 to 32%
    assert outcome("latency_p95_s > +5%", percent=8, error=0.05) == "not shown"  # about -2 to 19%
    assert outcome("latency_p95_s > +5%", percent=-10, error=0.05) == "holds"
    assert outcome("throughput_rps < -5%", percent=-20, error=0.05, metric="throughput_rps") == "fails"
    assert outcome("throughput_rps < -5%", percent=-6, error=0.05, metric="throughput_rps") == "not shown"
    assert outcome("throughput_rps < -5%", percent=20, error=0.05, metric="throughput_rps") == "holds"


@pytest.mark.parametrize(
    ("gate", "verdict"),
    [
        ("latency_p95_s > +5%", "saturated"),
        ("throughput_rps < -5%", "saturated"),
        ("goodput_rps < -5%", "saturated"),
        ("throughput_rps < -5%", "shedding"),
        ("goodput_rps < -5%", "shedding"),
    ],
)
def test_a_server_that_no_longer_keeps_up_fails_a_gate(gate, verdict):
    (judged,) = judge(comparison(metric=gate.split()[0], verdicts=("valid", verdict)), parse_gates([gate]))
    assert (judged.outcome, judged.reason) == ("fails", f"new {verdict} (1 of 1 seed), old valid")


@pytest.mark.parametrize(
    ("gate", "verdicts"),
    [
        ("latency_p95_s > +5%", ("saturated", "saturated")),
        ("latency_p95_s > +5%", ("saturated", "valid")),
        ("latency_p95_s < -5%", ("valid", "saturated")),
        ("latency_p95_s > +5%", ("valid", "shedding")),
        ("throughput_rps > +5%", ("valid", "saturated")),
    ],
)
def test_a_gate_that_judges_nothing_is_a_mistake(gate, verdicts):
    with pytest.raises(StudyError, match="nothing to judge: new saturated"):
        outcome(gate, metric=gate.split()[0], verdicts=verdicts)


def test_a_gate_on_a_figure_that_no_cell_has_is_a_mistake():
    with pytest.raises(StudyError, match="nothing to judge"):
        outcome("goodput_rps < -5%", percent=1.0)


@pytest.mark.parametrize("gate", ["throughput_rps < -3%", "goodput_rps < -3%", "latency_p95_s > +5%"])
@pytest.mark.parametrize("broken", ["failed", "failing"])
def test_only_the_new_side_failing_fails_every_gate(gate, broken):
    metric = gate.split()[0]
    (judged,) = judge(comparison(metric=metric, verdicts=("valid", broken)), parse_gates([gate]))
    assert (judged.outcome, judged.reason) == ("fails", f"new {broken} (1 of 1 seed), old did not")
    for verdicts in ((broken, broken), (broken, "valid"), ("contaminated", broken)):
        with pytest.raises(StudyError, match="nothing to judge"):
            outcome(gate, metric=metric, verdicts=verdicts)


@pytest.mark.parametrize("verdict", ["contaminated", "client_limited"])
@pytest.mark.parametrize("side", [0, 1])
def test_what_the_machine_or_the_client_did_fails_no_gate(verdict, side):
    verdicts = tuple(verdict if number == side else "valid" for number in (0, 1))
    with pytest.raises(StudyError, match="nothing to judge"):
        outcome("latency_p95_s > +5%", verdicts=verdicts)
