"""Blocks: every row once, in order, and none overwritten by the one that is read ahead."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.rag.retrieval import blocks


@given(
    count=st.integers(0, 5000),
    queries=st.integers(1, 2000),
    k=st.integers(1, 100),
    largest=st.integers(1, 4000),
)
def test_every_row_is_in_one_block(count: int, queries: int, k: int, largest: int) -> None:
    parts = list(blocks.bounds(count, queries=queries, k=k, largest=largest))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(count))
    assert all(part.stop - part.start <= largest for part in parts)


def test_a_block_of_a_file_stays_while_the_next_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.arange(80, dtype=np.float32).reshape(20, 4)
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert blocks.is_mapped(mapped)
    parts, asked = [slice(start, start + 5) for start in range(0, 20, 5)], []

    def told() -> Iterator[slice]:
        for part in parts:
            asked.append(part.start)
            yield part

    read, was_read = blocks._read, {part.start: threading.Event() for part in parts}

    def noted(vectors: np.ndarray, part: slice, into: np.ndarray) -> np.ndarray:
        found = read(vectors, part, into)
        was_read[part.start].set()
        return found

    monkeypatch.setattr(blocks, "_read", noted)
    seen = 0
    for part, rows in blocks.stream(mapped, told()):
        assert asked[-1] == min(part.start + 5, 15), "the next block is read while this one is used"
        assert was_read[asked[-1]].wait(20)
        np.testing.assert_array_equal(rows, vectors[part])
        seen += len(rows)
    assert seen == 20


def test_rows_of_a_file_are_gathered_in_the_order_asked_for(tmp_path: Path) -> None:
    vectors = np.arange(80, dtype=np.float32).reshape(20, 4)
    np.save(tmp_path / "v.npy", vectors)
    rows = np.array([7, 0, 19, 7])
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    np.testing.assert_array_equal(blocks.gather(mapped, rows), vectors[rows])


def test_a_slice_of_a_mapped_file_is_no_whole_file(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros((20, 4), dtype=np.float32))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert not blocks.is_mapped(mapped[5:])
    assert not blocks.is_mapped(np.asarray(mapped))


def test_a_file_that_was_cut_is_told(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, np.zeros((20_000, 4), dtype=np.float32))
    mapped = np.load(path, mmap_mode="r")
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(OSError, match="it has been cut"):
        list(blocks.stream(mapped, iter([slice(0, 20_000)])))
