"""What HTTP tells of an answer, whatever its wire."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragbench.load.answer import Answer, read_headers, read_refusal, server_timing


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("queue;dur=1.2, embed;dur=0.5", {"queue": 0.0012, "embed": 0.0005}),
        ('db;desc="a, b; dur=9";dur=3', {"db": 0.003}),
        ('queue;dur="4"', {"queue": 0.004}),
        ("queue ; dur = 2 ", {"queue": 0.002}),
        ("queue;dur=1, queue;dur=2", {"queue": 0.001}),
        ("queue;dur=-1, a;dur=nan, b;dur=x, c;dur=, d, e;dur=inf, f;dur=1", {"f": 0.001}),
        ("queue;dur=1e308, embed;dur=1e12", {"embed": 1e9}),
        ("", {}),
        (";;,,=;dur", {}),
    ],
)
def test_server_timing(header, seconds):
    assert server_timing(header) == pytest.approx(seconds)


@given(st.text())
def test_server_timing_takes_any_text(header):
    assert all(seconds >= 0 for seconds in server_timing(header).values())


def test_headers_may_be_missing():
    assert set(read_headers({}).values()) == {None}


@pytest.mark.parametrize(
    ("text", "size"), [("7", 7), (" 12 ", 12), ("0", None), ("-1", None), ("7.5", None), ("x", None)]
)
def test_batch_size_header(text, size):
    assert read_headers({"x-batch-size": text})["batch_size"] == size


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (429, "rejected"),
        (503, "rejected"),
        (504, "timeout"),
        (500, "http_error"),
        (404, "http_error"),
        (302, "http_error"),
    ],
)
def test_statuses_of_http(code, status):
    body = json.dumps({"detail": "why"}).encode()
    assert read_refusal(Answer(code, {}, body)) == {"status": status, "error": f"{code}: why"}
    assert read_refusal(Answer(code, {}, b"plain"))["error"] == f"{code}: plain"


@pytest.mark.parametrize("depth", range(850, 1000, 10))
def test_a_refusal_nested_deep_is_a_row(depth):
    deep = "[" * depth + "]" * depth
    assert read_refusal(Answer(500, {}, f'{{"detail": {deep}}}'.encode()))["status"] == "http_error"
