"""When a replica is left alone, and how it comes back."""

import pytest

from policies.health import Health, HealthRules

RULES = HealthRules(failures=2, ejection_s=1.0, max_ejection_s=3.0, slow_start_s=10.0)


def test_two_failures_in_a_row_put_it_out_and_an_answer_between_them_does_not() -> None:
    health = Health(RULES)
    assert not health.failed(0.0, is_unreachable=False)
    health.answered(0.0)
    assert not health.failed(0.0, is_unreachable=False)
    assert health.may_be_asked(0.0, outstanding=5)
    assert health.failed(0.0, is_unreachable=False)
    assert not health.may_be_asked(0.5, outstanding=0)


def test_one_failure_is_enough_where_the_rules_say_so() -> None:
    assert Health(HealthRules(failures=1)).failed(1.0, is_unreachable=False)


def test_one_refused_connection_puts_it_out() -> None:
    assert Health(RULES).failed(0.0, is_unreachable=True)


def test_each_failed_trial_doubles_the_time_out_up_to_the_most() -> None:
    health = Health(RULES)
    now, pauses = 0.0, []
    for _ in range(4):
        assert health.failed(now, is_unreachable=True)
        assert health.out_until_s is not None
        pauses.append(health.out_until_s - now)
        now = health.out_until_s
    assert pauses == [1.0, 2.0, 3.0, 3.0]


def test_tries_that_were_under_way_when_it_went_out_do_not_count_again() -> None:
    health = Health(RULES)
    health.failed(0.0, is_unreachable=True)
    assert not health.failed(0.5, is_unreachable=True)
    health.answered(0.6)
    assert health.out_until_s == 1.0, "that answer was to an older request"


def test_back_after_one_trial_and_then_slowly() -> None:
    health = Health(RULES)
    health.failed(0.0, is_unreachable=True)
    assert health.may_be_asked(1.0, outstanding=0)
    assert not health.may_be_asked(1.0, outstanding=1), "one trial at a time"
    health.answered(1.5)
    assert health.may_be_asked(1.5, outstanding=9)
    assert [health.share(now) for now in (1.5, 6.5, 11.5, 99.0)] == [0.1, 0.5, 1.0, 1.0]
    health.failed(2.0, is_unreachable=True)
    assert health.out_until_s == 3.0, "the doubling begins anew"
    at_once = Health(HealthRules(slow_start_s=0.0))
    at_once.failed(0.0, is_unreachable=True)
    at_once.answered(1.5)
    assert at_once.share(1.5) == 1.0


@pytest.mark.parametrize(
    "bad", [{"failures": 0}, {"ejection_s": 0.0}, {"ejection_s": 9.0, "max_ejection_s": 1.0}, {"slow_start_s": -1.0}]
)
def test_odd_rules_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        HealthRules(**bad)


def test_one_that_may_not_go_stays_and_goes_with_the_next_failure_once_it_may() -> None:
    health = Health(HealthRules(failures=2))
    assert not any(health.failed(now, is_unreachable=False, may_go=False) for now in (1.0, 2.0, 3.0))
    assert health.may_be_asked(3.0, 9)
    assert health.failed(4.0, is_unreachable=False)
    assert not health.may_be_asked(4.0, 0)
