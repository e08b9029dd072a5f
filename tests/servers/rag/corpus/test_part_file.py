"""The file that batches are added to: what is whole comes back, what is not is cut off."""

from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from servers.rag.corpus import part_file

ONE, TWO = np.arange(6, dtype=np.float32).reshape(2, 3), np.full((1, 3), 7, dtype=np.float32)


def opened(path: Path) -> FileIO:
    """To read and append to, as vectors.py does."""
    return path.open("a+b", buffering=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of two batches, of 2 and 1 rows."""
    path = tmp_path / "it.part"
    with opened(path) as part:
        assert list(part_file.batches(part)) == []
        assert part_file.append(part, ONE)
        assert part_file.append(part, TWO)
    return path


def read(path: Path) -> list[list[list[float]]]:
    with opened(path) as part:
        return [batch.tolist() for batch in part_file.batches(part)]


def test_batches_come_back_in_order_and_more_can_follow(path: Path) -> None:
    assert read(path) == [ONE.tolist(), TWO.tolist()]
    with opened(path) as part:
        assert len(list(part_file.batches(part))) == 2
        assert part_file.append(part, ONE)
    assert read(path) == [ONE.tolist(), TWO.tolist(), ONE.tolist()]


@pytest.mark.parametrize("missing", [1, 12, 13, 23])  # the last batch is 12 bytes of head and 12 of values
def test_a_torn_batch_is_cut_off(path: Path, missing: int) -> None:
    path.write_bytes(path.read_bytes()[:-missing])
    assert read(path) == [ONE.tolist()]
    assert path.stat().st_size == 12 + 24
    with opened(path) as part:
        list(part_file.batches(part))
        part_file.append(part, TWO)
    assert read(path) == [ONE.tolist(), TWO.tolist()]


@pytest.mark.parametrize("damage", [b"\0" * 12, b"\xff" * 12, b"\x02\0\0\0\x03\0\0\0\0\0\0\0"])
def test_a_damaged_batch_is_cut_off_with_all_that_follow(path: Path, damage: bytes) -> None:
    path.write_bytes(damage + path.read_bytes()[12:])
    assert read(path) == []
    assert path.stat().st_size == 0


def test_a_batch_that_cannot_be_written_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with open("/dev/full", "ab", buffering=0) as full:
        assert not part_file.append(full, ONE)
    assert "are not kept for a later run: [Errno 28] No space left on device" in caplog.text
