"""What a fleet tells of its scaling."""

import pytest

from ragbench.load.scaling import read_scaling
from ragbench.results.records import NO_SCALING, Decision, Start

DECISION = {"number": 1, "age_s": 1.0, "ready": 2, "starting": 1, "outstanding": 9, "queue_wait_p95_s": 0.25}
DECISION |= {"arrival_rps": 20.0, "target": 4, "reason": "queue wait"}


def test_decisions_and_starts_since_the_origin_are_in_order():
    decisions = [DECISION, DECISION | {"age_s": 3.0, "target": 3}, DECISION | {"age_s": 99.0}]
    starts = [{"age_s": 2, "start_s": 1.5}]
    told = read_scaling({"policy": "p", "window_s": 5.0, "decisions": decisions, "starts": starts}, now_s=10.0)
    assert [one.t_s for one in told.decisions] == [7.0, 9.0]
    assert told.decisions[1] == Decision(9.0, 2, 1, 9, 0.25, 20.0, 4, "queue wait")
    assert told.starts == (Start(8.0, 1.5),)


def test_a_decision_tells_nothing_of_the_load_before():
    """The fleet's window of 5 s: at 4.9 s of a point it still held what came before, so that is left out."""
    decisions = [DECISION | {"age_s": age_s} for age_s in (8.0, 5.1, 5.0, 1.0)]
    told = read_scaling({"window_s": 5.0, "decisions": decisions}, now_s=10.0)
    assert [one.queue_wait_p95_s for one in told.decisions] == [None, None, 0.25, 0.25]
    assert [one.arrival_rps for one in told.decisions] == [None, None, 20.0, 20.0]
    assert [(one.target, one.reason) for one in told.decisions] == [(4, "queue wait")] * 4


def test_numbers_whose_sum_is_no_number_are_not_taken():
    decisions, starts = [DECISION | {"arrival_rps": 1e308}], [{"age_s": 1.0, "start_s": 1e308}]
    assert read_scaling({"window_s": 5.0, "decisions": decisions, "starts": starts}, now_s=10.0) == NO_SCALING


@pytest.mark.parametrize("window_s", [None, "5", float("nan")])
def test_a_window_of_unknown_length_may_reach_back_to_any_load(window_s):
    told = read_scaling({"window_s": window_s, "decisions": [DECISION]}, now_s=10.0)
    assert [(one.queue_wait_p95_s, one.arrival_rps) for one in told.decisions] == [(None, None)]


@pytest.mark.parametrize(
    "odd",
    [
        *({"age_s": None}, {"age_s": float("nan")}, {"arrival_rps": float("inf")}, {"target": None}, {"ready": "two"}),
        *({"queue_wait_p95_s": "0.1"}, {"age_s": -5.0}, {"ready": 10**400}, {"outstanding": -1}, {"target": 1e300}),
    ],
)
def test_a_decision_that_cannot_be_read_is_left_out(odd):
    told = read_scaling({"decisions": [DECISION | odd, DECISION, None, {}, 5], "starts": None}, now_s=10.0)
    assert [one.t_s for one in told.decisions] == [9.0]
    assert told.starts == ()
