"""Whether designs said the same: what is compared, and with whom."""

from ragbench.compare.answers import compare_answers
from ragbench.results.records import Row


def rows(**said: str | None) -> list[Row]:
    """A row a question; None: it was not answered."""
    return [
        Row(
            request=number,
            due_s=0.0,
            question=question,
            status="rejected" if result is None else "ok",
            result=result,
        )
        for number, (question, result) in enumerate(said.items())
    ]


def test_only_questions_that_all_answered_are_compared() -> None:
    told = compare_answers(
        {"a": rows(q1="x", q2="y", q3="z"), "b": rows(q2="y", q1="x", q4="w"), "c": rows(q1="x", q2="y", q3=None)}
    )
    assert [one.questions for one in told] == [2, 2, 2]
    assert [one.different for one in told] == [0, 0, 0]
    assert len({one.sha256 for one in told}) == 1


def test_one_other_answer_is_counted_and_changes_the_checksum() -> None:
    first, second = compare_answers({"a": rows(q1="x", q2="y"), "b": rows(q1="x", q2="yes")})
    assert (first.different, second.different) == (0, 1)
    assert first.sha256 != second.sha256


def test_a_design_that_answers_one_question_in_two_ways_is_unsteady() -> None:
    [only] = compare_answers({"a": [*rows(q1="x"), *rows(q1="y")]})
    assert (only.different, only.unsteady) == (0, 1)


def test_nothing_in_common_is_no_agreement() -> None:
    assert [one.questions for one in compare_answers({"a": rows(q1="x"), "b": rows(q2="x")})] == [0, 0]
    assert compare_answers({}) == []
