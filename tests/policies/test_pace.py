"""The line through the runs: exact on a line, soon right after a change, careful where it knows one size only."""

import pytest

from policies.pace import Pace


def taught(*runs: tuple[int, float]) -> Pace:
    pace = Pace()
    for size, length_s in runs:
        pace.ran(size, length_s)
    return pace


def test_nothing_is_known_before_the_first_run() -> None:
    assert Pace().run_s(8) is None
    assert Pace().answered_s(3, max_batch_size=8) is None


def test_a_straight_line_is_found() -> None:
    pace = taught((1, 0.021), (8, 0.028), (32, 0.052))
    assert pace.run_s(16) == pytest.approx(0.036)


def test_of_one_size_alone_others_are_taken_to_be_as_long() -> None:
    """A first lone run that was slow, as in a crowd's first moment, must not have the crowd sent away."""
    pace = taught((1, 0.5), (1, 0.5))
    assert [pace.run_s(size) for size in (1, 32)] == pytest.approx([0.5, 0.5])


def test_sizes_that_hardly_differ_say_nothing_of_others() -> None:
    pace = taught(*[(8, 0.1)] * 30, (9, 0.3))
    assert pace.run_s(32) == pace.run_s(8)
    wide = taught((1, 0.1), (2, 0.2))
    assert wide.run_s(4) == pytest.approx(0.4)


def test_a_newcomer_waits_for_the_rest_of_the_run_the_full_batches_and_its_own() -> None:
    pace = taught((1, 0.021), (8, 0.028), (32, 0.052))
    assert pace.answered_s(70, max_batch_size=32, rest_s=0.01) == pytest.approx(0.01 + 2 * 0.052 + 0.027)


def test_a_change_of_pace_is_noticed_within_twenty_runs() -> None:
    pace = taught(*[(4, 0.1)] * 50, *[(4, 0.4)] * 20)
    assert pace.run_s(4) == pytest.approx(0.4, rel=0.15)


def test_no_run_is_free_even_where_larger_ones_were_faster() -> None:
    pace = taught((1, 1.0), (8, 0.1))
    assert pace.run_s(100) > 0
