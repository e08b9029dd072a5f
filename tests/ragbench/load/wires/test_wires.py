"""What holds for every wire."""

import json
from pathlib import Path

import pytest

from ragbench.load import wires
from ragbench.load.answer import Answer
from ragbench.load.target import Target
from ragbench.load.wires import WIRES
from ragbench.study.questions import Question
from ragbench.study.schedule import Request

QUESTION = Question("q", "Where?", ("Kalvo",), ("d1",))


def test_every_file_of_the_folder_is_a_wire():
    assert {path.stem for path in Path(wires.__file__).parent.glob("[a-z]*.py")} == set(WIRES)


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
def test_a_question_becomes_json_that_holds_it(wire):
    assert wire.path.startswith("/")
    body = wire.body(Request(1, 0.0, QUESTION), Target("http://x", 1.0))
    assert "Where?" in body.decode()
    assert isinstance(json.loads(body), dict)


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
@pytest.mark.parametrize("body", [b"", b"\xff", b"null", b"[]", b"{}", b"5", b"[" * 99_999, b'{"a": NaN}'])
def test_whatever_comes_is_the_fields_of_a_row(wire, body):
    told = wire.read(Answer(200, {}, body), QUESTION)
    assert told["status"] == "bad_answer"
    assert 0 < len(told["error"]) <= 300
