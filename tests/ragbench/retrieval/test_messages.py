import pytest

from ragbench.retrieval.messages import Message, read_message


def test_the_three_kinds():
    assert read_message(b'{"progress": "building"}') == Message("progress", "building")
    assert read_message(b'{"row": {"n": 5}}\r') == Message("row", {"n": 5})
    assert read_message(b'{"rates": {}}') == Message("rates", {})


@pytest.mark.parametrize(
    "line", [b"Loading 100%", b"5", b"{}", b'{"row": 5}', b'{"progress": "x", "row": {}}', b"\xff", b"[" * 100_000]
)
def test_any_other_line_is_refused(line):
    with pytest.raises(ValueError, match="neither progress nor a row"):
        read_message(line)
