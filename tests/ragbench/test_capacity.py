import math

import pytest

from ragbench.capacity import Probe, Search, Vote

YES, NO = Vote(True), Vote(False, "too slow")
LATE = Vote(False, "client_limited: sent late", is_service=False)


def probe(rate, *votes, seeds=3):
    return Probe(rate, seeds, votes)


def searched(carries, *, start=10.0, limit=200, **options):
    """Run a search against a service that `carries(rate)`. -> (the ended search, rates probed in order)."""
    search, rates = Search(start, **options), []
    while (rate := search.next_rps) is not None:
        rates.append(rate)
        assert len(rates) < limit
        search = search.told(probe(rate, *[YES if carries(rate) else NO] * 2))
    return search, rates


@pytest.mark.parametrize("capacity", [0.7, 9.9, 10.0, 37.3, 100.0, 99_999.0])
@pytest.mark.parametrize("tolerance", [0.02, 0.05, 0.3])
def test_the_bracket_holds_the_capacity_and_is_narrow_enough(capacity, tolerance):
    search, rates = searched(lambda rate: rate <= capacity, tolerance=tolerance, most_probes=60)
    found = search.found()
    assert found.low_rps <= capacity < found.high_rps
    assert found.high_rps / found.low_rps - 1 <= tolerance
    assert found.resolved
    assert len(set(rates)) == len(rates)


def test_it_doubles_then_halves_the_bracket_geometrically():
    _, rates = searched(lambda rate: rate <= 50, tolerance=0.2)
    assert rates == [10, 20, 40, 80, 56.57, 47.57]


def test_below_the_start_it_halves():
    _, rates = searched(lambda rate: rate <= 3, tolerance=0.5)
    assert rates == [10, 5, 2.5, 3.536]


def test_few_enough_probes_for_a_coffee():
    _, rates = searched(lambda rate: rate <= 100, start=20, tolerance=0.05)
    assert len(rates) <= 9


def test_what_never_passes_ends_unresolved():
    search, rates = searched(lambda rate: False, most_probes=99)
    assert min(rates) == pytest.approx(10 / 2**10, rel=1e-3)
    found = search.found()
    assert (found.resolved, found.low_rps, found.capacity_rps) == (False, None, None)
    assert found.reason == f"no rate passed, down to {min(rates):g}/s (too slow)"


def test_what_never_fails_ends_unresolved_after_its_probes():
    search, rates = searched(lambda rate: True, most_probes=5)
    assert rates == [10, 20, 40, 80, 160]
    assert search.found().reason == "no rate failed, up to 160/s after 5 probes"


def test_too_few_probes_leave_a_wide_bracket_unresolved():
    search, _ = searched(lambda rate: rate <= 100, most_probes=6)
    found = search.found()
    assert not found.resolved
    assert found.reason.startswith("6 probes left a bracket ")


def test_a_load_that_was_not_sent_resolves_nothing():
    search = Search(10, tolerance=1.0).told(probe(10, YES, YES)).told(probe(20, LATE, LATE))
    assert search.next_rps is None
    assert search.found().reason == "at 20/s the load failed, not the service: client_limited: sent late"
    assert not search.found().resolved


def test_most_seeds_decide_and_disagreement_is_told():
    search = Search(10, tolerance=1.0).told(probe(10, YES, NO, YES)).told(probe(20, NO, NO))
    found = search.found()
    assert found.resolved
    assert "seeds disagreed: 10/s: 2 of 3 seeds passed (too slow)" in found.reason


@pytest.mark.parametrize(
    ("seeds", "votes", "is_decided", "passed"),
    [
        (3, (YES,), False, False),
        (3, (YES, YES), True, True),
        (3, (YES, NO), False, False),
        (3, (NO, NO), True, False),
        (1, (YES,), True, True),
        (2, (YES,), False, False),
        (2, (NO,), True, False),
        (5, (YES, NO, YES, YES), True, True),
    ],
)
def test_a_probe_ends_when_the_rest_can_change_nothing(seeds, votes, is_decided, passed):
    found = probe(10, *votes, seeds=seeds)
    assert (found.is_decided, found.passed) == (is_decided, passed)


@pytest.mark.parametrize("options", [{"start_rps": 0}, {"start_rps": math.inf}, {"tolerance": 0}, {"most_probes": 0}])
def test_settings_that_end_nowhere_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        Search(**({"start_rps": 10.0} | options))
