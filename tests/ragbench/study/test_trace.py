import hashlib

import numpy as np
import pytest

from ragbench.study.arrivals import ArrivalError, Span, parse_arrival
from ragbench.study.trace import read_trace


@pytest.fixture
def write(tmp_path):
    """A trace of these lines. -> its path as text"""

    def write(*lines):
        path = tmp_path / "trace.csv"
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    return write


def draw(path, rate, **span):
    return parse_arrival(f"trace:path={path}").draw(rate, Span(**span), np.random.default_rng(0)).tolist()


def test_offsets_begin_at_the_first_and_are_put_in_order(write):
    trace = read_trace(write("offset_s,output_tokens", "12,7", "10,5", "", "15.5,0"))
    assert trace.offsets_s.tolist() == [0.0, 2.0, 5.5]
    assert trace.lengths == (5, 7, 1)  # none at all is a request that failed; one token is the least to ask for


def test_azures_columns(write):
    path = write(
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "2023-11-16 18:15:46.6805900,374,44",
        "2023-11-16 18:15:50.9951690,396,109",
        "2023-11-16 18:15:51.2216702,879,55",
    )
    trace = read_trace(path)
    assert trace.offsets_s.tolist() == pytest.approx([0.0, 4.314579, 4.54108], abs=1e-6)
    assert trace.lengths == (44, 109, 55)


def test_burstgpts_columns(write):
    trace = read_trace(
        write(
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
            "5,ChatGPT,472,18,490,API",
            "45,GPT-4,1,230,2,API",
        )
    )
    assert (trace.offsets_s.tolist(), trace.lengths) == ([0.0, 40.0], (18, 230))


def test_the_checksum_is_that_of_the_file(write):
    path = write("timestamp", "1", "2")
    assert read_trace(path).lengths is None
    assert read_trace(path).sha256 == hashlib.sha256(b"timestamp\n1\n2\n").hexdigest()


def test_a_changed_file_is_read_again(write):
    read_trace(write("timestamp", "1", "2"))
    assert read_trace(write("timestamp", "1", "5", "9")).offsets_s.tolist() == [0.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "no column of times; wanted one of offset_s, timestamp, time_s"),
        (["when,length", "1,2"], "no column of times"),
        (["timestamp", "1"], "holds 1 arrivals; wanted at least 2"),
        (["timestamp", "1", "1"], "holds 2 arrivals; wanted at least 2, at different times"),
        (
            ["timestamp", "1", "soon"],
            r"trace\.csv, line 3: timestamp must be a number of seconds or a date and time, got 'soon'",
        ),
        (["timestamp", "1", "inf"], r"trace\.csv, line 3: timestamp must be .*, got 'inf'"),
        (["length,timestamp", "5,1", "6"], r"trace\.csv, line 3: 1 cells, wanted 2"),
        (["timestamp,a", "1,5", ",6"], r"trace\.csv, line 3: timestamp is absent"),
        (
            ["timestamp,output_tokens", "1,2", "2,-3"],
            r"trace\.csv, line 3: output_tokens must be a number of output tokens, got '-3'",
        ),
        (["timestamp,output_tokens", "1,2", "2,few"], r"trace\.csv, line 3: output_tokens must be .*, got 'few'"),
    ],
)
def test_a_trace_that_cannot_be_read(write, lines, message):
    path = write(*lines)
    with pytest.raises(ArrivalError, match=message):
        read_trace(path)


def test_no_trace():
    with pytest.raises(ArrivalError, match=r"no trace at 'absent\.csv': No such file"):
        draw("absent.csv", 5, requests=2)


def test_the_clock_is_scaled_to_the_offered_rate(write):
    path = write("offset_s", "0", "1", "5", "8")  # 3 gaps in 8 s
    assert draw(path, 3.0, requests=4) == pytest.approx([0.0, 1 / 8, 5 / 8, 1.0])
    assert draw(path, 0.375, requests=2) == [0.0, 1.0]
    assert draw(path, 3.0, duration_s=0.9) == pytest.approx([0.0, 1 / 8, 5 / 8])
    assert read_trace(path).scale(3.0) == pytest.approx(1 / 8)


@pytest.mark.parametrize("span", [{"requests": 5}, {"duration_s": 1.5}])
def test_a_trace_that_is_too_short_says_how_much_there_is(write, span):
    path = write("offset_s", "0", "1", "5", "8")
    with pytest.raises(
        ArrivalError, match=r"holds 4 arrivals, which last 1.33333 s at 3/s; wanted \d arrivals in 1\.\d+ s"
    ):
        draw(path, 3.0, **span)
