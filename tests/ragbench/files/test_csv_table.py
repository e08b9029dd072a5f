import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragbench.files.csv_table import RecordError, read_columns, read_frame, write_table
from ragbench.results.metrics import METRICS
from ragbench.results.records import REQUESTS, STATUSES, Row, load_summary, summary_csv, write_atomic

ROOT = Path(__file__).parents[3]
ANY_TEXT = st.text(st.characters(), max_size=20)  # lone surrogates, NUL, carriage returns: all there is
ODD = ["\r", "a\rb", "\n", "\0", "", " ", "\\e", "\\u0041", "\\", "\\\\u", "\ud800", "\\\ud800", '"', ",", "null", "NA"]


def kept(tmp_path, text):
    path = tmp_path / "x.csv"
    write_atomic(path, text)
    return path


@given(st.lists(st.tuples(st.none() | ANY_TEXT, st.integers(), st.none() | ANY_TEXT), max_size=5))
def test_any_text_and_any_whole_number_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "x.csv"
    write_atomic(path, write_table(("a", "n", "b"), rows))
    columns = read_columns(path)
    assert list(columns) == ["a", "n", "b"]
    found = [columns[name].values(kind) for name, kind in (("a", "text"), ("n", "count"), ("b", "text"))]
    assert list(zip(*found, strict=True)) == rows


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_come_back_from_a_table_of_one_column(tmp_path, text):
    path = kept(tmp_path, write_table(("a",), [(text,), (None,), (text,)]))
    assert read_columns(path)["a"].cells == [text, None, text]
    assert read_frame(path, {"a": "text"})["a"].tolist()[::2] == [text, text]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(ANY_TEXT, st.sampled_from(STATUSES), st.none() | ANY_TEXT, st.none() | ANY_TEXT), max_size=4),
)
def test_rows_of_requests_come_back_both_ways(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "requests.csv"
    written = [
        Row(number, question, 0.5, status=status, result=result, error=error)
        for number, (question, status, result, error) in enumerate(rows)
    ]
    write_atomic(path, REQUESTS.text(written))
    assert REQUESTS.read(path) == written
    frame = REQUESTS.frame(path)
    for column in ("question", "status", "result", "error"):
        found = [value if isinstance(value, str) else None for value in frame[column]]
        assert found == [getattr(row, column) for row in written]


@settings(max_examples=60, deadline=None)
@given(st.integers(min_value=0), ANY_TEXT, ANY_TEXT)
def test_rows_of_a_summary_come_back_whatever_seed_and_texts(tmp_path_factory, seed, design, reason):
    path = tmp_path_factory.mktemp("summary") / "summary.csv"
    key = {"design": design, "arrival": "poisson", "offered_rps": 2.0, "seed": seed}
    counts = dict.fromkeys(("requests", "completed", "rejected", "timed_out", "failed", "unsent", "replicas"), 1)
    row = key | counts | {"point": "p", "configuration": design, "verdict": "valid", "verdict_reason": reason}
    write_atomic(path, summary_csv([{"point": {**key, "settings": {"mark": design}}, "summary": row}]))
    (found,) = load_summary(path).to_dict("records")
    assert METRICS.keys() <= found.keys()
    assert (found["seed"], found["design"], found["verdict_reason"]) == (seed, design, reason)


def test_an_answer_longer_than_csv_allows_by_itself_can_be_read(tmp_path):
    row = Row(0, "q", 0.0, status="ok", result="long " * 40_000)
    path = kept(tmp_path, REQUESTS.text([row]))
    assert REQUESTS.read(path) == [row]
    assert REQUESTS.frame(path)["result"][0] == row.result


def test_files_of_other_forms_are_one_line(tmp_path):
    path = tmp_path / "x.csv"
    for data, told in (
        (b"a,b\n1\n", r"x.csv, line 2: 1 cells, wanted 2"),
        (b"a\n\xff\n", r"x.csv is not UTF-8: line 2"),
        (b"", r"x.csv lacks the columns a"),
    ):
        path.write_bytes(data)
        with pytest.raises(RecordError, match=told):
            read_columns(path, ("a",))
    with pytest.raises(RecordError, match=r"there is no .*none.csv"):
        read_columns(tmp_path / "none.csv")
    path.write_bytes(b"a\n1.5\n")
    with pytest.raises(RecordError, match=r"x.csv, line 2: a must be a whole number, got '1.5'"):
        read_frame(path, {"a": "whole"})


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbfa\n1\n")
    assert read_columns(path)["a"].cells == ["1"]


def test_cells_of_unknown_columns_decide_their_type(tmp_path):
    rows = [("null", 8, 1.5, True, None, "8a"), ("x", 9, 2, False, None, "9")]
    frame = read_frame(kept(tmp_path, write_table("abcdef", rows)), {})
    assert frame["a"].tolist() == ["null", "x"]
    assert [str(frame[name].dtype) for name in "bcde"] == ["int64", "float64", "boolean", "float64"]
    assert frame["f"].tolist() == ["8a", "9"]


def test_no_other_file_of_the_harness_writes_or_reads_tables():
    # drawn.py keeps numbers of figures to its own digits, and labels that no service sent.
    allowed = {ROOT / "ragbench" / "files" / "csv_table.py", ROOT / "ragbench" / "plots" / "drawn.py"}
    pattern = re.compile(r"^import csv|\bcsv\.(?:reader|writer|Dict)|read_csv\(|\.to_csv\(", re.MULTILINE)
    found = [path for path in (ROOT / "ragbench").rglob("*.py") if pattern.search(path.read_text(encoding="utf-8"))]
    assert set(found) <= allowed


def test_a_lone_surrogate_survives_a_frame_even_where_pyarrow_is_installed(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(write_table(["a"], [["x\ud800"], [None]]), encoding="utf-8")
    column = read_frame(path, {"a": "text"})["a"]
    assert column.dtype.storage == "python"
    assert column[0] == "x\ud800"
    assert column.isna().tolist() == [False, True]


def test_an_empty_line_is_refused_unless_it_may_be_skipped(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n\n3,4\n", encoding="utf-8")
    with pytest.raises(RecordError, match="line 3: 0 cells, wanted 2"):
        read_columns(path)
    assert read_columns(path, may_skip_lines=True)["a"].cells == ["1", "3"]
