import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragbench.files.csv_table import RecordError
from ragbench.study.questions import (
    Question,
    exact_match,
    f1,
    load_questions,
    normalise,
    read_questions,
    recall_at_k,
    sample,
)

QUESTIONS = [Question(f"q{i}", "?") for i in range(7)]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Kalvo", "kalvo"),
        ("  The Town,  of Kalvo! ", "town of kalvo"),
        ("An apple a day", "apple day"),
        ("anthem", "anthem"),
        ("U.S.A.", "usa"),
        ("", ""),
    ],
)
def test_normalise(text, normal):
    assert normalise(text) == normal


@given(st.text())
def test_normalise_is_settled_after_one_pass_over_letters(text):
    letters = "".join(c for c in text if c.isascii() and (c.isalnum() or c == " "))
    assert normalise(normalise(letters)) == normalise(letters)


def test_exact_match():
    assert exact_match("the Kalvo.", ["kalvo", "x"]) == 1.0
    assert exact_match("Kalvo town", ["Kalvo"]) == 0.0
    assert exact_match("anything", []) is None


@pytest.mark.parametrize(
    ("result", "answers", "expected"),
    [
        ("the Kalvo.", ["kalvo"], 1.0),
        ("Kalvo town", ["Kalvo"], 2 / 3),  # precision 1/2, recall 1
        ("in the old town of Kalvo Bay", ["Kalvo Bay"], 1 / 2),  # precision 2/6, recall 1
        ("a b b c", ["b b d"], 2 / 3),  # of "b b c" and "b b d", two words in common
        ("b", ["b b b"], 1 / 2),  # a word counts as often as both have it
        ("c b", ["b c"], 1.0),  # order does not count
        ("blue", ["red", "dark blue", "dark blue sea"], 2 / 3),  # the best of them
        ("red", ["blue"], 0.0),
        ("", ["blue"], 0.0),
        ("A", ["the"], 0.0),  # nothing is left of either: as SQuAD v1.1 counts it
        ("anything", [], None),
    ],
)
def test_f1(result, answers, expected):
    assert f1(result, answers) == (None if expected is None else pytest.approx(expected, abs=1e-12))


@given(st.text("ab c."), st.lists(st.text("ab c."), min_size=1, max_size=3))
def test_f1_of_an_exact_match_is_1_unless_nothing_is_left_of_it(result, answers):
    found = f1(result, answers)
    assert 0 <= found <= 1
    if exact_match(result, answers) and normalise(result):
        assert found == 1


def test_recall_counts_each_gold_document_once():
    assert recall_at_k(["a", "a", "c"], ["a", "b"]) == 0.5
    assert recall_at_k([], ["a"]) == 0.0
    assert recall_at_k(["a"], []) is None


@given(st.integers(0, 40), st.integers(0, 1000))
def test_sample_gives_as_many_as_asked_and_repeats_last(n, seed):
    picked = sample(QUESTIONS, n, np.random.default_rng(seed))
    assert len(picked) == n
    for start in range(0, n, 7):
        block = picked[start : start + 7]
        assert len({question.id for question in block}) == len(block)


def test_read_questions(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": "1", "query": "a", "answers": ["x"], "documents": ["d"]}\n\n{"id": "2", "query": "b"}\n')
    assert read_questions(path) == (Question("1", "a", ("x",), ("d",)), Question("2", "b"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "q.jsonl:2: Expecting property name.*; wanted"),
        ("[]", "q.jsonl:2: Expected `object`, got `array`; wanted"),
        ('{"id": "2"}', "q.jsonl:2: Object missing required field `query`; wanted"),
        ('{"id": 2, "query": "b"}', "q.jsonl:2: Expected `str`, got `int`"),
        ('{"id": "2", "query": ""}', "q.jsonl:2: .*neither may be empty"),
        ('{"id": "2", "query": "b", "answers": "x"}', "q.jsonl:2: Expected `array`, got `str` - at `.*answers`"),
        ('{"id": "1", "query": "b"}', "q.jsonl:2: the id '1' is there twice"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": "1", "query": "a"}\n' + line + "\n")
    with pytest.raises(RecordError, match=message):
        read_questions(path)


def test_an_empty_or_absent_file_is_refused(tmp_path):
    (tmp_path / "q.jsonl").write_text("\n")
    with pytest.raises(RecordError, match="holds no questions"):
        load_questions(str(tmp_path / "q.jsonl"))
    with pytest.raises(RecordError, match=r"no questions at 'nothing'.*facts"):
        load_questions("nothing")


def test_the_shipped_questions_have_gold_answers():
    shipped = load_questions("facts")
    assert len(shipped.questions) == 2000
    assert all(question.answers and question.documents for question in shipped.questions)
