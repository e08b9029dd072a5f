"""POST /rag: what is asked, and what an answer is."""

import json

import pytest

from ragbench.load.answer import Answer
from ragbench.load.target import Target
from ragbench.load.wires import rag
from ragbench.study.questions import Question
from ragbench.study.schedule import Request

QUESTION = Question("q1", "Where?", ("Kalvo",), ("d1", "d2"))
GOOD = {
    "query": "Where?",
    "result": "the Kalvo.",
    "documents": [{"id": "d1", "text": "", "score": 1.0}, {"id": "d9", "text": "", "score": 0.5}],
    "model": "m",
    "usage": {"prompt_tokens": 9, "completion_tokens": 2},
}


def told(body):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return rag.read(Answer(200, {}, raw), QUESTION)


def test_a_request_of_a_trace_has_its_own_length():
    target = Target("http://x", 1.0, k=3, max_new_tokens=40)
    bodies = [json.loads(rag.body(Request(0, 0.0, QUESTION, limit), target)) for limit in (7, None)]
    assert bodies == [{"query": "Where?", "k": 3, "max_new_tokens": limit} for limit in (7, 40)]
    assert json.loads(rag.body(Request(0, 0.0, QUESTION), Target("http://x", 1.0))) == {"query": "Where?", "k": 2}


def test_a_good_answer():
    assert told(GOOD) == {
        "status": "ok",
        "result": "the Kalvo.",
        "exact_match": 1.0,
        "f1": 1.0,
        "recall_at_k": 0.5,
        "prompt_tokens": 9,
        "completion_tokens": 2,
    }


def test_an_answer_with_nothing_but_its_result_is_good():
    row = told({"result": "no"})
    assert (row["status"], row["exact_match"], row["f1"], row["recall_at_k"]) == ("ok", 0.0, 0.0, None)
    assert row["prompt_tokens"] is None


def test_odd_extras_do_not_spoil_an_answer():
    row = told({"result": "Kalvo", "documents": [None, "d1", {"id": 5}, {}], "usage": {"prompt_tokens": "9"}})
    assert (row["status"], row["recall_at_k"], row["prompt_tokens"]) == ("ok", 0.0, None)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff\xfe", b"[]", b"{}", b'{"result": 5}', b'{"result": null}', b"[" * 99_999]
)
def test_a_200_that_holds_no_result_is_a_bad_answer(body):
    row = told(body)
    assert row["status"] == "bad_answer"
    assert row["error"]
    assert len(row["error"]) <= 300


def test_counts_that_no_figure_could_be_computed_of_are_absent():
    row = told({"result": "x", "usage": {"prompt_tokens": 10**400, "completion_tokens": 7}})
    assert (row["prompt_tokens"], row["completion_tokens"]) == (None, 7)


@pytest.mark.parametrize("depth", range(850, 1000, 10))
def test_an_answer_nested_deep_is_a_row(depth):
    deep = "[" * depth + "]" * depth
    assert told(f'{{"result": "x", "documents": [{{"id": {deep}}}]}}'.encode())["status"] in ("ok", "bad_answer")
