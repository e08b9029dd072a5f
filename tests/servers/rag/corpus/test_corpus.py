"""Corpora: the table, a user's own file, and what a bad file says."""

from pathlib import Path

import pytest

from servers.rag.corpus import Corpus, load
from servers.rag.models import ModelError
from servers.settings import Settings


def test_facts_are_the_same_for_the_same_seed_and_differ_for_another() -> None:
    first, again, other = (load("facts", path=None, size=50, seed=seed) for seed in (0, 0, 1))
    assert len(first) == 50
    assert first.checksum == again.checksum != other.checksum


def test_jsonl_reads_at_most_size_lines(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"id": 1, "text": "one"}\n{"id": "b", "text": "two"}\n{"id": "c", "text": "three"}\n')
    corpus = load("jsonl", path=path, size=2, seed=0)
    assert (corpus.ids, corpus.texts) == (("1", "b"), ("one", "two"))


def test_jsonl_skips_empty_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes('\ufeff{"id": "a", "text": "é"}\r\n\n  \n{"id": "b", "text": "two"}\n\n'.encode())
    corpus = load("jsonl", path=path, size=2, seed=0)
    assert (corpus.ids, corpus.texts) == (("a", "b"), ("é", "two"))


def test_jsonl_that_is_not_utf_8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"id": "a", "text": "x"}\n{"id": "b", "text": "caf\xe9"}\n')
    with pytest.raises(ModelError, match=r"latin.jsonl, line 2: not UTF-8 \(.* at byte 24\)"):
        load("jsonl", path=path, size=10, seed=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "a", "text": "x"}\n{"id": "b"}\n', r"line 2: text: Field required, got {'id': 'b'}"),
        ("not json\n", "line 1: Invalid JSON: expected ident at column 2, got 'not json"),
        (
            '\n{"id": "a", "text": "x"}\n{"id": "b", "text": ["y"]}\n',
            "line 3: text: Input should be a valid string, got",
        ),
        ('{"id": null, "text": "x"}\n', "line 1: id: Input should be a valid string, got None"),
        ("[" * 100_000, "line 1: Invalid JSON: recursion limit exceeded"),
        ("", "has no documents"),
        (
            '{"id": "1", "text": "x"}\n\n{"id": "b", "text": "y"}\n{"id": 1, "text": "z"}\n',
            "line 4: the id '1' is there already, in line 1",
        ),
        (
            '{"id": "a\\ud800", "text": "x"}\n',
            "line 1: Invalid JSON: unexpected end of hex escape at column 16",
        ),
        ('{"id": "a", "text": "xy\\udfff"}\n', "line 1: Invalid JSON: lone leading surrogate in hex escape at column"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(ModelError, match=message):
        load("jsonl", path=path, size=10, seed=0)


def test_a_pair_of_surrogates_is_one_letter(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"id": "a", "text": "\\ud83d\\ude00"}\n')
    assert load("jsonl", path=path).texts == ("\U0001f600",)


def test_a_document_that_is_too_long_names_its_line_and_what_allows_it(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text('{"id": "a", "text": "12345"}\n{"id": "b", "text": "123456"}\n')
    with pytest.raises(ModelError, match=r"long.jsonl, line 2: text: has 6 characters, --max-document-chars allows 5"):
        load("jsonl", path=path, max_chars=5)
    assert len(load("jsonl", path=path, max_chars=6)) == 2
    path.write_text(f'{{"id": "{"a" * 1025}", "text": "1"}}\n')
    with pytest.raises(ModelError, match=r"line 1: id: String should have at most 1024 characters"):
        load("jsonl", path=path)


def test_a_file_is_read_whole_unless_a_size_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    path.write_text("".join(f'{{"id": {number}, "text": "x"}}\n' for number in range(10_001)))
    assert len(load("jsonl", path=path)) == 10_001
    assert len(load("jsonl", path=path, size=9)) == 9
    assert Settings().corpus_size is None
    assert len(load("facts")) == 10_000


def test_a_size_that_the_facts_do_not_have_is_one_clear_line() -> None:
    with pytest.raises(ModelError, match=r"--corpus-size 5: .* got 5"):
        load("facts", path=None, size=5, seed=0)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere.jsonl: No such file"):
        load("jsonl", path=tmp_path / "nowhere.jsonl", size=10, seed=0)


def test_the_checksum_covers_ids_and_texts() -> None:
    sums = {Corpus("c", ids, texts).checksum for ids, texts in [(("a",), ("x",)), (("b",), ("x",)), (("a",), ("y",))]}
    assert len(sums) == 3
