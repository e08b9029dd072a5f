import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragbench.results.metrics import SCALING
from ragbench.results.records import Decision, ReplicaCount, Row, Scaling, Start
from ragbench.statistics.scaling import scaling_figures
from ragbench.statistics.summary import summarise

COUNTS = [
    ReplicaCount(0.0, 1, 0, 0),
    ReplicaCount(2.0, 1, 2, 0),
    ReplicaCount(5.0, 3, 0, 0),
    ReplicaCount(8.0, 2, 0, 1),
]


def decided(t_s, size, target):
    return Decision(t_s, size, 0, 5, 0.1, 20.0, target, "why")


def figures(counts, scaling, *, good, step_up_s):
    """Those of a fleet, of 10 s in which `good` requests were answered."""
    rows = [Row(i, "q", i / good, i / good, i / good + 0.1, 0.1, 0.0, "ok", 200) for i in range(good)]
    found = summarise(rows, offered_rps=1.0, duration_s=10.0, replicas=counts, scaling=scaling, step_up_s=step_up_s)
    return {name: getattr(found, name) for name in SCALING}


def figure(name, counts=(), decisions=(), *, duration_s=10.0, since_s=None):
    """One of the figures."""
    return scaling_figures(counts, Scaling(tuple(decisions)), duration_s=duration_s, step_up_s=since_s, good=1)[name]


def test_replica_seconds_count_every_state_to_the_end_of_the_load():
    assert figure("replica_seconds", COUNTS, duration_s=10.0) == 2 * 1 + 3 * 3 + 3 * 3 + 2 * 3
    assert figure("replica_seconds", COUNTS, duration_s=6.0) == 2 * 1 + 3 * 3 + 1 * 3
    assert figure("replica_seconds", COUNTS[:1], duration_s=6.0) == 6
    assert figure("replica_seconds", [], duration_s=6.0) is None


def test_the_first_count_holds_from_the_origin():
    counts = [ReplicaCount(0.4, 2, 0, 0), ReplicaCount(1.0, 1, 0, 0)]
    assert figure("replica_seconds", counts, duration_s=2.0) == 2 * 1 + 1


@given(st.lists(st.floats(0, 20), min_size=1, max_size=30).map(sorted), st.integers(0, 5), st.floats(0.1, 20))
def test_a_steady_fleet_costs_its_size_times_the_time(times, size, duration_s):
    counts = [ReplicaCount(t_s, size, 0, 0) for t_s in times]
    assert figure("replica_seconds", counts, duration_s=duration_s) == pytest.approx(size * duration_s)


def test_a_reaction_is_the_first_wish_for_more_after_the_step():
    decisions = [decided(1.0, 1, 2), decided(4.0, 2, 2), decided(5.0, 2, 1), decided(6.5, 1, 4), decided(7.0, 4, 5)]
    reactions = [figure("reaction_s", decisions=decisions, since_s=since_s) for since_s in (4.0, 1.0, 8.0, None)]
    assert reactions == [2.5, 0.0, None, None]
    starting = Decision(5.0, 1, 2, 5, 0.1, 20.0, 3, "hold")  # those that start count: no wish for more
    assert figure("reaction_s", decisions=[starting], since_s=4.0) is None


def test_capacity_is_there_when_as_many_are_ready_as_ever():
    times = [figure("capacity_s", COUNTS, since_s=since_s) for since_s in (1.5, 5.0, 6.0, 8.5, None)]
    assert times == [3.5, 0.0, 0.0, None, None]  # three are ready until 8 s, and never again
    assert figure("capacity_s", since_s=1.0) is None


@pytest.mark.parametrize(
    ("targets", "turns"),
    [([], 0), ([3, 4], 0), ([3, 2], 1), ([3, 3, 2, 2, 3], 2), ([3, 2, 1, 2, 1, 1], 3), ([2, 2, 2], 0)],
)
def test_reversals_are_turns_among_the_changes(targets, turns):
    sizes = [2, *targets]
    decisions = [decided(float(i), *pair) for i, pair in enumerate(zip(sizes, targets, strict=False))]
    decisions.append(decided(90.0, sizes[-1], sizes[-1]))
    assert figure("reversals_per_min", decisions=decisions, duration_s=120.0) == turns / 2


def test_the_figures_of_a_fleet_that_scaled():
    scaling = Scaling((decided(1.0, 1, 1), decided(2.0, 1, 3)), (Start(4.0, 2.0), Start(5.0, 3.0)))
    assert figures(COUNTS, scaling, good=130, step_up_s=1.5) == {
        "replica_seconds": 26.0,
        "replica_s_per_1000_good": pytest.approx(200.0),
        "reaction_s": 0.5,
        "capacity_s": 3.5,
        "cold_start_s": 2.5,
        "reversals_per_min": 0.0,
    }


def test_where_there_is_nothing_to_say_nothing_is_said():
    assert set(figures([], Scaling(), good=5, step_up_s=3.0).values()) == {None}
    steady = figures(COUNTS, Scaling((decided(1.0, 1, 2),)), good=0, step_up_s=None)
    known = {name for name, value in steady.items() if value is not None}
    assert known == {"replica_seconds", "reversals_per_min"}
